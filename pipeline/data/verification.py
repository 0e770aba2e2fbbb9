"""Re-hash every stored file and raw file that a version depends on, and report mismatches."""

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
from pipeline.store.versions import RawInput, Store, fingerprint

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """A mismatch."""

    what: str  # asset and data version
    where: str  # file or folder
    expected: str
    got: str


def verify(
    found: Chain, store: Store, *, moved: Path | None = None, cache: Path | None = None, progress: bool = True
) -> list[Finding]:
    """Re-hash the files of every version of the chain and every raw file; the mismatches.

    ``moved`` holds the raw folders now, if not where they were; ``cache`` is the folder of inflated .tar.gz files.
    """
    versions = [node.version for node in found if node.version is not None]
    size = sum(file["bytes"] for version in versions for file in store.marker(version)["files"].values())
    with tqdm(total=size, desc="versions", unit="B", unit_scale=True, disable=not progress) as bar:
        checked = [(node, list(_check_version(node, store, bar))) for node in found]
    findings = [finding for _, mismatches in checked for finding in mismatches]
    for node, mismatches in checked:
        if node.raw is not None and not mismatches:  # a damaged manifest tells nothing about its raw files
            folder = Path(node.raw.root) if moved is None else moved / node.raw.dataset
            findings += _check_raw(node, node.raw, folder, cache, progress)
    return findings


def raw_files(found: Chain) -> int:
    """Number of images and masks that the manifests of a chain name."""
    return sum(1 + len(json.loads(row["masks"])) for node in found for row in _rows(node))


def _check_version(node: Node, store: Store, bar: Any) -> Iterator[Finding]:
    what = f"{node.asset} {node.data_version}"
    version = node.version
    if version is None:
        yield Finding(what, str(store.folder(node.asset, node.data_version)), "a complete version", node.problem)
        return
    if node.provenance is None:
        yield Finding(what, str(version.path), "a record of what it was made from", "none; materialize it again")
    marker = store.marker(version)
    named = f"{marker['asset']} {marker['data_version']}"
    if named != what:
        yield Finding(what, str(version.path), what, f"the marker of {named}")
    differences = store.differences(version, bar.update)
    for name, files in differences.items():
        expected, got = (
            f"sha256 {file['sha256']}, {file['bytes']} bytes" if file else "no such file" for file in files
        )
        yield Finding(what, str(version.path / name), expected, got)
    content = None  # the data version computed from the content; that of other assets takes a build
    if version.asset.endswith("/images") and not differences:
        images, quarantine, counts = read_manifest(version)
        content = fingerprint(images.to_dict("list"), quarantine.to_dict("list"), counts)
    elif "canvases" in version.meta and not differences:
        content = fingerprint(version.meta["canvases"])
    if content not in (None, node.data_version):
        yield Finding(what, str(version.path), f"content of version {node.data_version}", f"of {content}")


def _check_raw(node: Node, recorded: RawInput, folder: Path, cache: Path | None, progress: bool) -> list[Finding]:
    """Every raw file of a manifest by its content; if all match, the fingerprint of the whole folder."""
    what = f"raw files of {node.asset} {node.data_version}"
    try:
        raw = RawFolder(folder, cache=cache)
    except DatasetUnusable:
        return [Finding(what, str(folder), "the folder of downloads", "no such folder")]
    findings: list[Finding] = []
    rows, title = _rows(node), f"{recorded.dataset}: raw files"
    raw.sizes  # noqa: B018 - list the folder once, before the threads ask
    with (
        tqdm(total=node.raw_bytes, desc=title, unit="B", unit_scale=True, disable=not progress) as bar,
        ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool,
    ):
        for row, mismatches in zip(rows, pool.map(lambda row: _check_row(raw, row, what), rows), strict=True):
            findings += mismatches
            bar.update(row["bytes"])
    if not findings and (got := raw_fingerprint(raw)) != recorded.fingerprint:
        others = "other files changed or were added or removed: labels, quarantined or new ones"
        findings.append(Finding(what, str(folder), f"fingerprint {recorded.fingerprint}", f"{got}; {others}"))
    return findings


def _check_row(raw: RawFolder, row: Row, what: str) -> list[Finding]:
    content, findings = _digest(raw, row["path"]), []
    if content != row["sha256"]:
        findings.append(Finding(what, str(raw.root / row["path"]), f"sha256 {row['sha256']}", content))
    masks = [(str(raw.root / path), _digest(raw, path)) for path in json.loads(row["masks"]).values()]
    unreadable = [Finding(what, path, "a readable mask", digest) for path, digest in masks if " " in digest]
    if masks and not unreadable:
        got = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in masks)).hexdigest()
        if got != row["masks_sha256"]:
            places = ", ".join(path for path, _ in masks)
            findings.append(Finding(what, places, f"sha256 {row['masks_sha256']} over the masks", got))
    return findings + unreadable


def _digest(raw: RawFolder, path: str) -> str:
    """SHA-256 of a raw file, or a sentence that says why there is none."""
    try:
        return raw.sha256(path)
    except UnusableImage as error:
        archive = path.partition("!/")[0]
        return raw.broken.get(archive, str(error)) if path in raw.sizes or archive in raw.broken else "no such file"


def _rows(node: Node) -> list[Row]:
    return [{str(key): value for key, value in row.items()} for row in node.manifest.to_dict("records")]
