"""From a download to ``<dataset>/images``: every image read once to its end, known by its content, in one split.

What cannot be used goes to the quarantine by name and reason and the rest goes on; only a data set with nothing
usable stops the lane.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.data.datasets import Dataset
from pipeline.data.duplicates import DuplicateRule, duplicate_groups
from pipeline.data.layouts.candidate import Candidate
from pipeline.data.raw import RawFolder, read_mask
from pipeline.data.raw import fingerprint as raw_fingerprint
from pipeline.data.read.decode import decode_image, small_gray
from pipeline.data.schema import IMAGES, QUARANTINE
from pipeline.data.splits import ImagesConfig
from pipeline.errors import DatasetUnusable, UnusableImage
from pipeline.store.versions import Store, Version, fingerprint, write_file

Gray = NDArray[np.uint8]
Grouping = Callable[[Sequence[Gray], DuplicateRule], NDArray[np.int64]]


VERSION = "1"
"""Raise it when a change of the step's code changes its result; part of the asset's code version."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What reading one candidate gave: a row and a small gray copy, or why not."""

    candidate: Candidate
    row: dict[str, Any] | None = None
    small: Gray | None = None
    problems: tuple[tuple[str, str], ...] = ()  # path, reason


def build_manifest(
    raw: RawFolder,
    dataset: Dataset,
    config: ImagesConfig,
    store: Store,
    *,
    source_version: str | None = None,
    code_version: str = "1",
    progress: bool = False,
    grouping: Grouping | None = None,
) -> Version:
    """Publish ``<dataset>/images``: images.parquet, quarantine.parquet and counts.json; ``meta`` holds the counts.

    ``source_version`` is the fingerprint of the raw folder, computed where it is not given. Raises
    ``DatasetUnusable`` where there are no normals or no abnormal images left.
    """
    asset = f"{dataset.name}/images"
    source = source_version or raw_fingerprint(raw)
    key = fingerprint(source, config, list(dataset.decides), code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        images, quarantine, counts = make_manifest(raw, dataset, config, progress=progress, grouping=grouping)
        images.to_parquet(work / "images.parquet", index=False)
        quarantine.to_parquet(work / "quarantine.parquet", index=False)
        write_file(work / "counts.json", json.dumps(counts, indent=1).encode())
        version = fingerprint(images.to_dict("list"), quarantine.to_dict("list"), counts)
        return store.publish(asset, work, version, {"counts": counts, "source_version": source})


def make_manifest(
    raw: RawFolder,
    dataset: Dataset,
    config: ImagesConfig,
    *,
    progress: bool = False,
    grouping: Grouping | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """The tables of images and of the quarantine, and the counts, without publishing them."""
    candidates = dataset.scan(raw)
    if not candidates:
        got = f"{len(raw.paths())} other files" if raw.paths() else "no image or label file at all"
        broken = "".join(f"\nand {name}: {reason}" for name, reason in raw.broken.items())
        raise DatasetUnusable(
            f"{dataset.name}: no image of {dataset.title} found in {raw.root}, got {got}{broken}\n{dataset.wanted}"
        )
    readings = list(_read_all(raw, dataset, candidates, progress))
    problems = list(raw.broken.items()) + [problem for reading in readings for problem in reading.problems]
    usable, doubles = _without_doubles([reading for reading in readings if reading.row is not None])
    problems += doubles
    _require(dataset, raw, usable, problems)
    rows = pd.DataFrame([reading.row for reading in usable])
    group = grouping or (lambda images, rule: duplicate_groups(images, progress=progress, rule=rule))
    smalls = [reading.small for reading in usable]

    def alike(places: Sequence[int]) -> NDArray[np.int64]:
        if dataset.duplicates is None or not places:
            return np.arange(len(places))
        return group([small for place in places if (small := smalls[place]) is not None], dataset.duplicates)

    placed = dataset.split(rows, config, config.shares or dataset.shares, alike)
    rows = rows.assign(group=placed["group"], split=placed["split"])
    images = rows[list(IMAGES.columns)].sort_values(["split", "path"], ignore_index=True)
    images = images.astype({"label": "int8", "width": "int32", "height": "int32", "bytes": "int64"})
    quarantine = pd.DataFrame(sorted(problems), columns=["path", "reason"], dtype=str)
    counts = _count(dataset, config, candidates, rows, len(quarantine))
    return IMAGES.validate(images), QUARANTINE.validate(quarantine), counts


def _read_all(raw: RawFolder, dataset: Dataset, candidates: Sequence[Candidate], progress: bool) -> Iterator[Reading]:
    """Readings in the order of the candidates; decoding runs on threads, as it releases the interpreter lock."""
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
        readings = pool.map(lambda candidate: _read(raw, dataset, candidate), candidates)
        yield from tqdm(readings, total=len(candidates), desc=f"{dataset.name}: reading", disable=not progress)


def _read(raw: RawFolder, dataset: Dataset, candidate: Candidate) -> Reading:
    path = candidate.path
    if reason := candidate.refused or dataset.conflicts.get(candidate.key):
        return Reading(candidate=candidate, problems=((path, reason),))
    label = int(candidate.klass != dataset.classes[0])
    if label and dataset.lesions and not candidate.masks:
        return Reading(candidate=candidate, problems=((path, "an annotated image without any lesion mask"),))
    try:
        data = raw.read(path)
        pixels = decode_image(data)
    except UnusableImage as error:
        return Reading(candidate=candidate, problems=((path, str(error)),))
    height, width = pixels.shape[:2]
    problems = []
    marked = hashlib.sha256()
    for mask in candidate.masks.values():
        try:
            read_mask(raw, mask, (height, width))
            marked.update(hashlib.sha256(raw.read(mask)).digest())
        except UnusableImage as error:
            problems.append((mask, str(error)))
    if problems:
        reason = f"its mask {problems[0][0]} cannot be used, and a missing lesion would count as normal"
        return Reading(candidate=candidate, problems=(*problems, (path, reason)))
    digest = hashlib.sha256(data).hexdigest()
    row = {"image_id": digest[:16], "path": path, "sha256": digest, "label": label, "klass": candidate.klass}
    row |= {"width": width, "height": height, "bytes": len(data), "source": candidate.source}
    row |= {"masks_sha256": marked.hexdigest() if candidate.masks else ""}
    row |= {"masks": json.dumps(dict(candidate.masks)), "part": candidate.part, "official": candidate.official}
    row |= {"patient": candidate.patient, "order": candidate.order}
    return Reading(
        candidate=candidate, row=row, small=None if dataset.duplicates is None else small_gray(pixels, dataset.middle)
    )


def _without_doubles(readings: list[Reading]) -> tuple[list[Reading], list[tuple[str, str]]]:
    """One reading a content: the first by path; none where the same content is called normal and abnormal."""
    by_content: dict[str, list[Reading]] = {}
    for reading in sorted(readings, key=lambda reading: reading.candidate.path):
        by_content.setdefault((reading.row or {})["sha256"], []).append(reading)
    kept, problems = [], []
    for same in by_content.values():
        paths = [reading.candidate.path for reading in same]
        if len({(reading.row or {})["label"] for reading in same}) > 1:
            text = "conflicting labels, normal and abnormal: same content as "
            problems += [(path, text + next(other for other in paths if other != path)) for path in paths]
        else:
            kept.append(same[0])
            problems += [(path, f"same content as {paths[0]}") for path in paths[1:]]
    return kept, problems


def _require(dataset: Dataset, raw: RawFolder, usable: Sequence[Reading], problems: Sequence[tuple[str, str]]) -> None:
    labels = {(reading.row or {})["label"] for reading in usable}
    for label, kind in ((0, "normal"), (1, "abnormal")):
        if label not in labels:
            reasons = "".join(f"\n  {path}: {reason}" for path, reason in problems[:5])
            raise DatasetUnusable(
                f"{dataset.name}: no usable {kind} image in {raw.root}; {len(usable)} others are usable, "
                f"{len(problems)} files are not{':' if reasons else ''}{reasons}\n"
                f"{dataset.wanted}"
            )


def _count(
    dataset: Dataset, config: ImagesConfig, candidates: Sequence[Candidate], rows: pd.DataFrame, quarantined: int
) -> dict[str, Any]:
    """What is there beside what the official set has, and what came into which split."""
    there = Counter((item.part, item.klass) for item in candidates)
    usable = Counter(zip(rows["part"], rows["klass"], strict=True))
    sides = rows[rows["split"] != "unused"].groupby("group")["split"].nunique()
    return {
        "parts": {
            part: {
                klass: {"there": there[part, klass], "usable": usable[part, klass], "official": official}
                for klass, official in classes.items()
            }
            for part, classes in dataset.official.items()
        },
        "splits": {
            str(split): {str(k): int(n) for k, n in part["klass"].value_counts().sort_index().items()}
            for split, part in rows.groupby("split")
        },
        "groups": {str(split): int(n) for split, n in rows.groupby("split")["group"].nunique().items()},
        "quarantined": quarantined,
        "protocol": config.protocol,
        "leaking": bool((sides > 1).any()),
        "leaking_groups": int((sides > 1).sum()),
    }


def read_manifest(version: Version) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Images, quarantine and counts of a published version."""
    folder: Path = version.path
    counts: dict[str, Any] = json.loads((folder / "counts.json").read_text())
    return pd.read_parquet(folder / "images.parquet"), pd.read_parquet(folder / "quarantine.parquet"), counts
