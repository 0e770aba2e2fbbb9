"""The chain of versions behind a version: report, evaluation, checkpoints, proxies, tiles, images, raw files."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import StoreCorrupt
from pipeline.store.files import hash_file
from pipeline.store.provenance import Provenance, RawInput
from pipeline.store.versions import Store, Version

VersionId = tuple[str, str]  # asset and data version
REPORT = "evaluation_report"
REPORTS = (REPORT, "benchmark_report", "ablation_report")
SHORTEST = 6  # hex digits that identify a version
_PREFIX = re.compile(rf"[0-9a-f]{{{SHORTEST},}}")


@dataclass(frozen=True)
class Node:
    """A version and what it was made from; ``version`` is None, and ``problem`` says why, if it cannot be read."""

    asset: str
    data_version: str
    version: Version | None
    problem: str
    provenance: Provenance | None  # None: there is no record of it
    published: str
    minutes: float | None
    inputs: tuple[VersionId, ...]  # longest chain first
    depth: int  # length of the longest chain below it

    @property
    def id(self) -> VersionId:
        """Asset and data version."""
        return self.asset, self.data_version

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """Rows of a manifest (path, sha256, bytes, masks, masks_sha256); empty for every other asset."""
        if self.version is None or self.raw is None:
            return pd.DataFrame()
        return pd.read_parquet(self.version.path / "images.parquet")

    @property
    def raw_bytes(self) -> int:
        """Bytes of the images in a manifest."""
        return int(self.manifest["bytes"].sum()) if "bytes" in self.manifest else 0

    @property
    def raw(self) -> RawInput | None:
        """The downloads that a manifest was read from."""
        return self.provenance.raw if self.provenance else None

    def as_json(self) -> dict[str, Any]:
        """All facts about the version, without its contents."""
        about = {name: getattr(self, name) for name in ("asset", "data_version", "minutes", "published")}
        about["path"] = str(self.version.path) if self.version else None
        return {**about, "origin": asdict(self.provenance) if self.provenance else None}


@dataclass(frozen=True)
class Chain:
    """The versions behind ``tops``, each once."""

    tops: tuple[VersionId, ...]
    nodes: dict[VersionId, Node] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Node]:
        """Every version once, inputs first."""
        return iter(self.nodes.values())

    def as_json(self) -> dict[str, Any]:
        """Tops and nodes as JSON values."""
        return {"of": [list(top) for top in self.tops], "versions": [node.as_json() for node in self]}


def chain(store: Store, tops: Sequence[VersionId]) -> Chain:
    """Follow the provenance of versions down to the raw files; a branch ends where there is no record."""
    found = Chain(tuple(tops))
    for top in tops:
        _follow(store, top, found.nodes)
    return found


def closure(store: Store, tops: Iterable[VersionId]) -> set[VersionId]:
    """The versions and everything that they were made from."""
    return set(chain(store, sorted(tops)).nodes)


def _follow(store: Store, id: VersionId, nodes: dict[VersionId, Node]) -> Node:
    if id in nodes:
        return nodes[id]
    version, problem, provenance = None, "", store.provenance(*id)
    try:
        version = store.get(*id) if provenance and provenance.raw else store.known(*id)  # of a manifest with its table
    except StoreCorrupt as error:
        problem = str(error)
    inputs = [_follow(store, item, nodes) for item in (provenance.inputs.items() if provenance else ())]
    inputs.sort(key=lambda node: -node.depth)
    published = store.marker(version)["created"] if version else ""
    minutes = store.noted(version).get("minutes") if version else None
    depth = 1 + inputs[0].depth if inputs else 0
    node = Node(*id, version, problem, provenance, published, minutes, tuple(node.id for node in inputs), depth)
    nodes[id] = node
    return node


def named(store: Store, name: str) -> list[VersionId]:
    """Versions that ``name`` stands for; empty if it is no name in the store.

    A name is an asset, ``report``, ``asset@version``, a version or its beginning, or a report's file or folder. Raises
    ``LookupError`` if it is ambiguous or matches nothing.
    """
    assets = store.assets()
    asset = REPORT if name == "report" else name
    if asset in assets:
        return [(asset, store.pointed(asset) or store.current(asset).data_version)]
    wanted, at, prefix = name.rpartition("@")
    if at and wanted not in assets:
        raise LookupError(f"the store holds no version of {wanted!r}; {_listed(assets)}")
    if (at and prefix) or _PREFIX.fullmatch(prefix):
        return _with_prefix(store, [wanted] if at else assets, prefix, required=bool(at))
    return _of_file(store, Path(name)) if Path(name).exists() else []


def unknown(store: Store, name: str) -> str:
    """Message for a name that matches nothing."""
    what = "an MLflow run, an asset, asset@version, a version, or a report's file"
    near = get_close_matches(name, assets := store.assets())
    return f"{name!r} is neither {what}; {f'did you mean {near[0]}?' if near else _listed(assets)}"


def _listed(assets: Sequence[str]) -> str:
    return f"there are {', '.join(assets)}" if assets else "the store is empty, run: proxyano run"


def _with_prefix(store: Store, assets: Sequence[str], prefix: str, *, required: bool) -> list[VersionId]:
    """The version that begins with ``prefix``."""
    if not _PREFIX.fullmatch(prefix):
        raise LookupError(f"expected at least {SHORTEST} hex digits of a version, got {prefix!r}")
    every = [(asset, version.data_version) for asset in assets for version in store.versions(asset)]
    found = [id for id in every if id[1].startswith(prefix)]
    if len(found) > 1:
        raise LookupError(f"{prefix!r} is the beginning of {', '.join('@'.join(id) for id in found)}; give more digits")
    if not found and required:
        there = ", ".join(data_version for _, data_version in reversed(every))
        raise LookupError(f"no version of {assets[0]} begins with {prefix!r}; there are {there}")
    return found


def _of_file(store: Store, path: Path) -> list[VersionId]:
    """The report version with the same content as a file or folder."""
    files = [path] if path.is_file() else sorted(child for child in path.iterdir() if child.is_file())
    got = {file.name: hash_file(file) for file in files if not file.name.startswith(".")}
    for version in (version for report in REPORTS for version in reversed(store.versions(report))):
        expected = store.marker(version)["files"]
        if got and all(expected.get(name) == content for name, content in got.items()):
            return [(version.asset, version.data_version)]
    raise LookupError(f"{path} is no report of this store, or has changed; try: proxyano lineage report")
