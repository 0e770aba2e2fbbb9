"""Does everything behind a version still hold what it held: every file of every version, and every raw file."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.data.manifest import read_manifest
from pipeline.data.raw import RawFolder
from pipeline.data.raw import fingerprint as raw_fingerprint
from pipeline.errors import DatasetUnusable, UnusableImage
from pipeline.store.lineage import Chain, Node
from pipeline.store.provenance import RawInput
from pipeline.store.versions import Store, Version, fingerprint

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """Something that no longer matches."""

    what: str  # asset and data version
    where: str  # file or folder
    expected: str
    got: str


def verify(
    found: Chain, store: Store, *, moved: Path | None = None, cache: Path | None = None, progress: bool = True
) -> list[Finding]:
    """Hash every version's files and every raw file of the chain again; what no longer matches, empty if all does.

    A version is looked at once, however many others stand on it. ``moved`` is the folder that now holds the data
    sets' folders of downloads, ``cache`` one for inflated .tar.gz files.
    """
    there = [node.version for node in found if node.version is not None]
    size = sum(file["bytes"] for version in there for file in store.marker(version)["files"].values())
    with tqdm(total=size, desc="versions", unit="B", unit_scale=True, disable=not progress) as bar:
        wrong = {node.id: list(_version(node, store, bar)) for node in found}
    findings = [finding for some in wrong.values() for finding in some]
    for node in found:
        if node.raw is not None and not wrong[node.id]:  # a damaged manifest says nothing of its raw files
            folder = Path(node.raw.root) if moved is None else moved / node.raw.dataset
            findings += _raw(node, node.raw, folder, cache, progress)
    return findings


def raw_files(found: Chain) -> int:
    """Number of images and masks that the manifests of a chain name."""
    return sum(len(node.manifest) + sum(len(_masks(row)) for row in _rows(node)) for node in found)


def _version(node: Node, store: Store, bar: Any) -> Iterator[Finding]:
    what = _name(node)
    if node.version is None:
        yield Finding(what, str(store.folder(node.asset, node.data_version)), "a complete version", node.problem)
        return
    if node.provenance is None:
        yield Finding(what, str(node.version.path), "a record of what it was made from", "none; materialize it again")
    marker = store.marker(node.version)
    said = marker["asset"], marker["data_version"]
    if said != node.id:
        yield Finding(what, str(node.version.path), what, f"the marker of {' '.join(said)}")
    wrong = store.differences(node.version, bar.update)
    for name, (expected, got) in wrong.items():
        yield Finding(what, str(node.version.path / name), _content(expected), _content(got))
    if not wrong:
        content = _content_version(node.version)
        if content not in (None, node.data_version):
            yield Finding(what, str(node.version.path), f"content of version {node.data_version}", f"of {content}")


def _content_version(version: Version) -> str | None:
    """The data version as its content gives it, for manifests and checkpoints; None where that takes a build."""
    if version.asset.endswith("/images"):
        images, quarantine, counts = read_manifest(version)
        return fingerprint(images.to_dict("list"), quarantine.to_dict("list"), counts)
    if "canvases" in version.meta:
        return fingerprint(version.meta["canvases"])
    return None


def _raw(node: Node, recorded: RawInput, folder: Path, cache: Path | None, progress: bool) -> list[Finding]:
    """Every raw file of a manifest by its content; the folder as a whole where each of them is what it was."""
    what = f"raw files of {_name(node)}"
    try:
        raw = RawFolder(folder, cache=cache)
    except DatasetUnusable:
        return [Finding(what, str(folder), "the folder of downloads", "no such folder")]
    findings: list[Finding] = []
    raw.sizes  # noqa: B018 - list the folder once, before the threads ask
    title = f"{recorded.dataset}: raw files"
    with (
        tqdm(total=node.raw_bytes, desc=title, unit="B", unit_scale=True, disable=not progress) as bar,
        ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool,
    ):
        for row, wrong in pool.map(lambda row: (row, _row(raw, row, what)), _rows(node)):
            findings += wrong
            bar.update(row["bytes"])
    if not findings and (got := raw_fingerprint(raw)) != recorded.fingerprint:
        others = "other files changed, came or went: labels, quarantined or new ones"
        findings.append(Finding(what, str(folder), f"fingerprint {recorded.fingerprint}", f"{got}; {others}"))
    return findings


def _row(raw: RawFolder, row: Row, what: str) -> list[Finding]:
    found = []
    content = _digest(raw, row["path"])
    if content != row["sha256"]:
        found.append(Finding(what, _place(raw, row["path"]), f"sha256 {row['sha256']}", content))
    if masks := _masks(row):
        digests = [_digest(raw, path) for path in masks]
        unread = [(path, text) for path, text in zip(masks, digests, strict=True) if " " in text]
        found += [Finding(what, _place(raw, path), "a readable mask", text) for path, text in unread]
        got = hashlib.sha256(b"".join(bytes.fromhex(text) for text in digests if " " not in text)).hexdigest()
        if not unread and got != row["masks_sha256"]:
            places = ", ".join(_place(raw, path) for path in masks)
            found.append(Finding(what, places, f"sha256 {row['masks_sha256']} over the masks", got))
    return found


def _digest(raw: RawFolder, path: str) -> str:
    """SHA-256 of a raw file, or in words why there is none."""
    try:
        return raw.sha256(path)
    except UnusableImage as error:
        archive = path.partition("!/")[0]
        return raw.broken.get(archive, str(error)) if path in raw.sizes or archive in raw.broken else "no such file"


def _rows(node: Node) -> list[Row]:
    return [{str(key): value for key, value in row.items()} for row in node.manifest.to_dict("records")]


def _masks(row: Row) -> list[str]:
    return list(json.loads(row["masks"]).values())


def _place(raw: RawFolder, path: str) -> str:
    return str(raw.root / path)


def _name(node: Node) -> str:
    return f"{node.asset} {node.data_version}"


def _content(described: Mapping[str, Any] | None) -> str:
    return f"sha256 {described['sha256']}, {described['bytes']} bytes" if described else "no such file"
