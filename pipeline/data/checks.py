"""Checks of a manifest (passed, figures for the asset check), and of all files that a version was made from."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from pipeline.data.datasets import Dataset
from pipeline.data.duplicates import look_of, near_duplicates
from pipeline.data.manifest import content_version, read_manifest
from pipeline.data.raw import RawFolder
from pipeline.data.raw import fingerprint as raw_fingerprint
from pipeline.data.slices import file_of, read_mask, read_slices, slice_sha256
from pipeline.data.splits import SPLITS
from pipeline.errors import DatasetUnusable, UnusableImage
from pipeline.store.lineage import Chain, Node
from pipeline.store.provenance import RawInput
from pipeline.store.verify import differences
from pipeline.store.versions import Store, fingerprint

Row = Mapping[str, Any]
Outcome = tuple[bool, dict[str, Any]]
FEW = 5  # examples named in the metadata


def content_once(images: pd.DataFrame) -> Outcome:
    """No content hash occurs twice, so none is in two splits."""
    twice = sorted(set(images["path"][images["sha256"].duplicated(keep=False)]))
    return not twice, {"images": len(images), "repeated": len(twice), "examples": twice[:FEW]}


def groups_apart(images: pd.DataFrame) -> Outcome:
    """No patient or duplicate group is in two of train, val, holdout and test."""
    used = images[images["split"].isin(SPLITS)]
    splits = used.groupby("group")["split"].nunique()
    torn = sorted(splits.index[splits > 1])
    return not torn, {"groups": len(splits), "torn": len(torn), "examples": torn[:FEW]}


def near_duplicates_apart(images: pd.DataFrame, raw: RawFolder, dataset: Dataset) -> Outcome:
    """No two normals of different splits show the same thing; likeness to abnormal images is counted and passes."""
    rule = dataset.duplicates
    if rule is None:
        return True, {"pairs": 0, "note": "this data set is split by patient"}
    used = images[images["split"].isin(SPLITS)].reset_index(drop=True)
    frames = (frame for frame, _ in read_slices(raw, used["path"].tolist()))
    pairs = list(near_duplicates([look_of(frame.usable, dataset.middle, rule) for frame in frames], rule=rule))
    labels, splits = used["label"].tolist(), used["split"].tolist()
    torn = [(i, j) for i, j in pairs if labels[i] == labels[j] == 0 and splits[i] != splits[j]]
    mixed = {min((i, j), key=lambda k: labels[k]) for i, j in pairs if labels[i] != labels[j]}
    examples = [f"{used['path'][i]} ({splits[i]}) and {used['path'][j]} ({splits[j]})" for i, j in torn[:FEW]]
    return not torn, {"pairs": len(torn), "look_like_abnormal": len(mixed), "examples": examples}


def normals_only(images: pd.DataFrame, splits: Sequence[str] = ("train", "val", "holdout")) -> Outcome:
    """Only normals are learned from or set thresholds, and each split has some."""
    rows = images[images["split"].isin(splits)]
    wrong = sorted(rows["path"][rows["label"] != 0])
    counts = {split: int((rows["split"] == split).sum()) for split in splits}
    return not wrong and all(counts.values()), {**counts, "abnormal": len(wrong), "examples": wrong[:FEW]}


def counts_within_official(counts: Mapping[str, Any]) -> Outcome:
    """No part holds more images than the official set, and each image found is usable or in the quarantine."""
    cells = [(f"{part}/{klass}", cell) for part, row in counts["parts"].items() for klass, cell in row.items()]
    too_many = [(name, cell) for name, cell in cells if cell["there"] > cell["official"]]
    more = [f"{name}: {cell['there']} of {cell['official']}" for name, cell in too_many[:FEW]]
    numbers = {what: sum(cell[what] for _, cell in cells) for what in ("there", "usable", "official")}
    lost = max(numbers["there"] - numbers["usable"] - counts["quarantined"], 0)
    numbers |= {"quarantined": counts["quarantined"], "lost": lost}
    return not more and lost == 0, {**numbers, "more_than_official": more}


def mask_sizes(images: pd.DataFrame, raw: RawFolder) -> Outcome:
    """Every mask can be read and has the size of its image."""
    wrong, masks = [], 0
    for row in images.itertuples():
        for path in json.loads(str(row.masks)).values():
            masks += 1
            try:
                read_mask(raw, path).marked((int(str(row.height)), int(str(row.width))))
            except UnusableImage as error:
                wrong.append(f"{path}: {error}")
    return not wrong, {"masks": masks, "wrong": len(wrong), "examples": wrong[:FEW]}


@dataclass(frozen=True)
class Finding:
    """A mismatch."""

    what: str  # asset and data version
    where: str  # file or folder
    expected: str
    got: str


def verify(
    found: Chain,
    store: Store,
    *,
    moved: Path | None = None,
    home: Path | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> list[Finding]:
    """Re-hash the files of all versions and the raw files, now in the folder ``moved`` if given; the mismatches.

    Raw files that ``home`` has are looked at there: the sample and the links of own data move with their home.
    """
    versions = [node.version for node in found if node.version is not None]
    size = sum(file["bytes"] for version in versions for file in store.marker(version)["files"].values())
    with tqdm(total=size, desc="versions", unit="B", unit_scale=True, disable=not progress) as bar:
        checked = [(node, list(_check_version(node, store, bar))) for node in found]
    findings = [finding for _, mismatches in checked for finding in mismatches]
    for node, mismatches in checked:
        if node.raw is not None and not mismatches:  # a damaged manifest tells nothing about its raw files
            folder = Path(node.raw.root) if moved is None else moved / node.raw.dataset
            if moved is None and home is not None and (own := home.joinpath(*folder.parts[-2:])).is_dir():
                folder = own
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
    wrong = differences(version.path, bar.update)
    for name, files in wrong.items():
        expected, got = (
            f"sha256 {file['sha256']}, {file['bytes']} bytes" if file else "no such file" for file in files
        )
        yield Finding(what, str(version.path / name), expected, got)
    content = None  # the data version computed from the content; that of other assets takes a build
    if version.asset.endswith("/images") and not wrong:
        images, quarantine, counts = read_manifest(version)
        content = content_version(images, quarantine, counts)
    elif "canvases" in version.meta and not wrong:
        content = fingerprint(version.meta["canvases"])
    if content not in (None, node.data_version):
        yield Finding(what, str(version.path), f"content of version {node.data_version}", f"of {content}")


def _check_raw(node: Node, recorded: RawInput, folder: Path, cache: Path | None, progress: bool) -> list[Finding]:
    """Every raw file of a manifest by its content; if all match, the fingerprint of the whole folder."""
    what = f"raw files of {node.asset} {node.data_version}"
    try:
        raw = RawFolder(folder, cache=cache)
    except DatasetUnusable:
        return [Finding(what, str(folder), "the folder of downloads (if it was moved: --raw FOLDER)", "no such folder")]
    findings: list[Finding] = []
    files: dict[str, list[Row]] = {}
    for row in _rows(node):
        files.setdefault(file_of(raw, row["path"])[0], []).append(row)
    title = f"{recorded.dataset}: raw files"
    with (
        tqdm(total=node.raw_bytes, desc=title, unit="B", unit_scale=True, disable=not progress) as bar,
        ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool,
    ):
        each = pool.map(lambda file: _check_file(raw, file, files[file], what), files)
        for rows, mismatches in zip(files.values(), each, strict=True):
            findings += mismatches
            bar.update(sum(row["bytes"] for row in rows))
    if not findings and (got := raw_fingerprint(raw)) != recorded.fingerprint:
        others = "other files changed or were added or removed: labels, quarantined or new ones"
        findings.append(Finding(what, str(folder), f"fingerprint {recorded.fingerprint}", f"{got}; {others}"))
    return findings


def _check_file(raw: RawFolder, file: str, rows: Sequence[Row], what: str) -> list[Finding]:
    digest = _digest(raw, file)
    return [finding for row in rows for finding in _check_row(raw, row, _of_slice(raw, row["path"], digest), what)]


def _check_row(raw: RawFolder, row: Row, content: str, what: str) -> list[Finding]:
    findings = list[Finding]()
    if content != row["sha256"]:
        findings.append(Finding(what, str(raw.root / row["path"]), f"sha256 {row['sha256']}", content))
    paths = json.loads(row["masks"]).values()
    masks = [(str(raw.root / path), _of_slice(raw, path, _digest(raw, file_of(raw, path)[0]))) for path in paths]
    unreadable = [Finding(what, path, "a readable mask", digest) for path, digest in masks if " " in digest]
    if masks and not unreadable:
        got = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in masks)).hexdigest()
        if got != row["masks_sha256"]:
            places = ", ".join(path for path, _ in masks)
            findings.append(Finding(what, places, f"sha256 {row['masks_sha256']} over the masks", got))
    return findings + unreadable


def _of_slice(raw: RawFolder, path: str, digest: str) -> str:
    """Hash of a slice by that of its file, which may be a sentence."""
    file, number = file_of(raw, path)
    return digest if path == file or " " in digest else slice_sha256(digest, number)


def _digest(raw: RawFolder, path: str) -> str:
    """SHA-256 of a raw file, or a sentence that says why there is none."""
    try:
        return raw.sha256(path)
    except UnusableImage as error:
        archive = path.partition("!/")[0]
        return raw.broken.get(archive, str(error)) if path in raw.sizes or archive in raw.broken else "no such file"


def _rows(node: Node) -> list[Row]:
    return [{str(key): value for key, value in row.items()} for row in node.manifest.to_dict("records")]
