"""The chain behind a version: report, evaluation, checkpoints, proxies, tiles, images, down to the raw files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import StoreCorrupt
from pipeline.store.file_hashes import describe
from pipeline.store.provenance import OriginRecord, RawOrigin
from pipeline.store.versions import Store, Version

Made = tuple[str, str]
"""Asset and data version."""
REPORT = "evaluation_report"
REPORTS = (REPORT, "benchmark_report", "ablation_report")
SHORTEST = 6  # hex digits that name a version
_HEX = set("0123456789abcdef")


@dataclass(frozen=True, kw_only=True)
class Node:
    """One version with what it was made from; ``version`` is None, with the ``problem``, where it cannot be read."""

    asset: str
    data_version: str
    version: Version | None
    problem: str = ""
    origin: OriginRecord | None  # None: made before origins were recorded
    published: str = ""
    minutes: float | None = None
    inputs: tuple[Made, ...] = ()  # longest chain first
    depth: int = 0  # versions below it

    @property
    def made(self) -> Made:
        """Asset and data version."""
        return self.asset, self.data_version

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """Rows of a manifest (path, sha256, bytes, masks, masks_sha256); empty for what reads no downloads."""
        if self.version is None or self.raw is None:
            return pd.DataFrame()
        return pd.read_parquet(self.version.path / "images.parquet")

    @property
    def raw_bytes(self) -> int:
        """Size of the images a manifest names."""
        return int(self.manifest["bytes"].sum()) if "bytes" in self.manifest else 0

    @property
    def raw(self) -> RawOrigin | None:
        """The downloads it was read from."""
        return self.origin.raw if self.origin else None

    def as_json(self) -> dict[str, Any]:
        """Everything that is known of it, without the contents."""
        about: dict[str, Any] = {"asset": self.asset, "data_version": self.data_version, "minutes": self.minutes}
        about |= {"path": str(self.version.path) if self.version else None, "published": self.published}
        about["origin"] = asdict(self.origin) if self.origin else None
        return about


@dataclass(frozen=True)
class Chain:
    """The versions behind ``tops``, each once."""

    tops: tuple[Made, ...]
    nodes: dict[Made, Node] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Node]:
        """Every version once, those that others are made of first."""
        return iter(self.nodes.values())

    def as_json(self) -> dict[str, Any]:
        """Tops and nodes as plain values."""
        return {"of": [list(top) for top in self.tops], "versions": [node.as_json() for node in self]}


def chain(store: Store, tops: Sequence[Made]) -> Chain:
    """Follow the origins of versions down to the raw files; an origin that is unknown ends a branch."""
    found = Chain(tuple(tops))
    for top in tops:
        _follow(store, top, found.nodes)
    return found


def closure(store: Store, tops: Iterable[Made]) -> set[Made]:
    """The versions themselves and all that they were made from."""
    return set(chain(store, sorted(tops)).nodes)


def _follow(store: Store, made: Made, nodes: dict[Made, Node]) -> Node:
    if made in nodes:
        return nodes[made]
    asset, data_version = made
    version, problem = _version(store, asset, data_version)
    origin = store.origin(asset, data_version)
    below = [_follow(store, item, nodes) for item in (origin.inputs.items() if origin else ())]
    below.sort(key=lambda node: -node.depth)
    node = Node(
        asset=asset,
        data_version=data_version,
        version=version,
        problem=problem,
        origin=origin,
        published=store.marker(version)["created"] if version else "",
        minutes=store.noted(version).get("minutes") if version else None,
        inputs=tuple(node.made for node in below),
        depth=1 + below[0].depth if below else 0,
    )
    nodes[made] = node
    return node


def _version(store: Store, asset: str, data_version: str) -> tuple[Version | None, str]:
    try:
        return store.get(asset, data_version), ""
    except StoreCorrupt as error:
        return None, str(error)


def named(store: Store, of: str) -> list[Made]:
    """Versions that ``of`` stands for in the store; empty where it is none of its names.

    It may be an asset (its current version), ``report``, ``asset@version``, a version, a unique beginning of one, or
    a report's file or folder. Raises ``LookupError`` in one sentence where that is ambiguous or matches nothing.
    """
    assets = store.assets()
    asset = REPORT if of == "report" else of
    if asset in assets:
        return [(asset, store.current(asset).data_version)]
    wanted, at, beginning = of.rpartition("@")
    if at and wanted not in assets:
        raise LookupError(f"the store holds no version of {wanted!r}; {_there(assets)}")
    if (at and beginning) or _is_hex(beginning):
        return _beginning_with(store, [wanted] if at else assets, beginning, sure=bool(at))
    return _of_file(store, Path(of)) if Path(of).exists() else []


def unknown(store: Store, of: str) -> str:
    """One sentence for a name that nothing has."""
    what = "an MLflow run, an asset, asset@version, a version, or a report's file"
    return f"{of!r} is neither {what}; {_there(store.assets())}"


def _there(assets: Sequence[str]) -> str:
    if not assets:
        return "this home holds nothing yet, run: proxyano run"
    return f"there are {', '.join(assets)}"


def _is_hex(text: str) -> bool:
    return len(text) >= SHORTEST and set(text) <= _HEX


def _beginning_with(store: Store, assets: Sequence[str], beginning: str, *, sure: bool) -> list[Made]:
    if not _is_hex(beginning):
        raise LookupError(f"expected at least {SHORTEST} hex digits of a version, got {beginning!r}")
    every = [version for asset in assets for version in store.versions(asset)]
    found = [(v.asset, v.data_version) for v in every if v.data_version.startswith(beginning)]
    if len(found) > 1:
        raise LookupError(f"{beginning!r} is the beginning of {', '.join('@'.join(one) for one in found)}; give more")
    if not found and sure:
        there = ", ".join(version.data_version for version in reversed(every))
        raise LookupError(f"no version of {assets[0]} begins with {beginning!r}; there are {there}")
    return found


def _of_file(store: Store, path: Path) -> list[Made]:
    """The report version whose file this is a copy of, known by its content."""
    files = [path] if path.is_file() else sorted(child for child in path.iterdir() if child.is_file())
    got = {file.name: describe(file) for file in files if not file.name.startswith(".")}
    for version in (version for report in REPORTS for version in reversed(store.versions(report))):
        expected = store.marker(version)["files"]
        if got and all(expected.get(name) == content for name, content in got.items()):
            return [(version.asset, version.data_version)]
    raise LookupError(f"{path} is no report of this home, or was changed since; try: proxyano lineage report")
