"""From a download to ``<dataset>/images``: every image read once to its end, identified by its content, in one split.

A file that cannot be used goes to the quarantine with the reason; only a data set without any usable image stops the
lane.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.data.datasets import Dataset
from pipeline.data.duplicates import Gray, duplicate_groups, small_gray
from pipeline.data.layouts.candidate import Candidate
from pipeline.data.raw import RawFolder, read_mask
from pipeline.data.raw import fingerprint as raw_fingerprint
from pipeline.data.read.decode import decode_image
from pipeline.data.schema import IMAGES, QUARANTINE
from pipeline.data.splits import UNUSED, ImagesConfig
from pipeline.errors import DatasetUnusable, UnusableImage
from pipeline.store.versions import Store, Version, fingerprint, write_file

VERSION = "1"
"""Raise it when a change of the step's code changes its result; part of the asset's code version."""

Problem = tuple[str, str]
"""Path of a file that cannot be used, and the reason."""


@dataclass(frozen=True)
class Reading:
    """A usable image: its row and, where duplicates are looked for, a small gray copy."""

    row: dict[str, Any]
    small: Gray | None


def build_manifest(
    raw: RawFolder,
    dataset: Dataset,
    config: ImagesConfig,
    store: Store,
    *,
    source_version: str | None = None,
    code_version: str = "1",
    progress: bool = False,
) -> Version:
    """Publish ``<dataset>/images``: images.parquet, quarantine.parquet and counts.json; ``meta`` holds the counts.

    ``source_version`` is the fingerprint of the raw folder, computed if not given. Raises ``DatasetUnusable`` where
    no normal or no abnormal image is usable.
    """
    asset = f"{dataset.name}/images"
    source = source_version or raw_fingerprint(raw)
    key = fingerprint(source, config, list(dataset.decides), code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        images, quarantine, counts = make_manifest(raw, dataset, config, progress=progress)
        images.to_parquet(work / "images.parquet", index=False)
        quarantine.to_parquet(work / "quarantine.parquet", index=False)
        write_file(work / "counts.json", json.dumps(counts, indent=1).encode())
        version = fingerprint(images.to_dict("list"), quarantine.to_dict("list"), counts)
        return store.publish(asset, work, version, {"counts": counts, "source_version": source})


def make_manifest(
    raw: RawFolder, dataset: Dataset, config: ImagesConfig, *, progress: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """The tables of images and of the quarantine, and the counts, without publishing them."""
    candidates = dataset.scan(raw)
    if not candidates:
        got = f"{len(raw.paths())} other files" if raw.paths() else "no image or label file at all"
        broken = "".join(f"\nand {name}: {reason}" for name, reason in raw.broken.items())
        raise DatasetUnusable(
            f"{dataset.name}: no image of {dataset.title} found in {raw.root}, got {got}{broken}\n{dataset.wanted}"
        )
    readings, problems = _read_all(raw, dataset, candidates, progress)
    readings, repeated = _unique(readings)
    problems = [*raw.broken.items(), *problems, *repeated]
    _require_both_labels(dataset, raw, readings, problems)

    def alike(places: Sequence[int]) -> NDArray[np.int64]:
        if dataset.duplicates is None or not places:
            return np.arange(len(places))
        smalls = [small for place in places if (small := readings[place].small) is not None]
        return duplicate_groups(smalls, progress=progress, rule=dataset.duplicates)

    rows = pd.DataFrame([reading.row for reading in readings])
    placed = dataset.split(rows, config, config.shares or dataset.shares, alike)
    rows = rows.assign(group=placed["group"], split=placed["split"])
    images = rows[list(IMAGES.columns)].sort_values(["split", "path"], ignore_index=True)
    images = images.astype({"label": "int8", "width": "int32", "height": "int32", "bytes": "int64"})
    quarantine = pd.DataFrame(sorted(problems), columns=["path", "reason"], dtype=str)
    counts = _count(dataset, config, candidates, rows, len(quarantine))
    return IMAGES.validate(images), QUARANTINE.validate(quarantine), counts


def _read_all(
    raw: RawFolder, dataset: Dataset, candidates: Sequence[Candidate], progress: bool
) -> tuple[list[Reading], list[Problem]]:
    """Readings in the order of the candidates; threads decode, as decoding releases the interpreter lock."""
    readings: list[Reading] = []
    problems: list[Problem] = []
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
        results = pool.map(lambda candidate: _read(raw, dataset, candidate), candidates)
        title = f"{dataset.name}: reading"
        for result in tqdm(results, total=len(candidates), desc=title, disable=not progress):
            if isinstance(result, Reading):
                readings.append(result)
            else:
                problems += result
    return readings, problems


def _read(raw: RawFolder, dataset: Dataset, candidate: Candidate) -> Reading | list[Problem]:
    path = candidate.path
    if reason := candidate.refused or dataset.conflicts.get(candidate.key):
        return [(path, reason)]
    label = int(candidate.klass != dataset.classes[0])
    if label and dataset.lesions and not candidate.masks:
        return [(path, "an annotated image without any lesion mask")]
    try:
        data = raw.read(path)
        pixels = decode_image(data)
    except UnusableImage as error:
        return [(path, str(error))]
    height, width = pixels.shape[:2]
    mask_hash = hashlib.sha256()
    problems = []
    for mask in candidate.masks.values():
        try:
            read_mask(raw, mask, (height, width))
            mask_hash.update(hashlib.sha256(raw.read(mask)).digest())
        except UnusableImage as error:
            problems.append((mask, str(error)))
    if problems:
        reason = f"its mask {problems[0][0]} cannot be used, and a missing lesion would count as normal"
        return [*problems, (path, reason)]
    digest = hashlib.sha256(data).hexdigest()
    row = {
        "image_id": digest[:16],
        "path": path,
        "sha256": digest,
        "label": label,
        "klass": candidate.klass,
        "width": width,
        "height": height,
        "bytes": len(data),
        "source": candidate.source,
        "masks": json.dumps(dict(candidate.masks)),
        "masks_sha256": mask_hash.hexdigest() if candidate.masks else "",
        "part": candidate.part,
        "official": candidate.official,
        "patient": candidate.patient,
        "order": candidate.order,
    }
    return Reading(row, None if dataset.duplicates is None else small_gray(pixels, dataset.middle))


def _unique(readings: list[Reading]) -> tuple[list[Reading], list[Problem]]:
    """One reading for each content: the first by path, or none where it is labelled both normal and abnormal."""
    by_content: dict[str, list[Reading]] = {}
    for reading in sorted(readings, key=lambda reading: str(reading.row["path"])):
        by_content.setdefault(reading.row["sha256"], []).append(reading)
    kept, problems = [], []
    for same in by_content.values():
        paths = [reading.row["path"] for reading in same]
        if len({reading.row["label"] for reading in same}) > 1:
            text = "conflicting labels, normal and abnormal: same content as "
            problems += [(path, text + next(other for other in paths if other != path)) for path in paths]
        else:
            kept.append(same[0])
            problems += [(path, f"same content as {paths[0]}") for path in paths[1:]]
    return kept, problems


def _require_both_labels(
    dataset: Dataset, raw: RawFolder, readings: Sequence[Reading], problems: Sequence[Problem]
) -> None:
    labels = {reading.row["label"] for reading in readings}
    for label, kind in ((0, "normal"), (1, "abnormal")):
        if label not in labels:
            reasons = "".join(f"\n  {path}: {reason}" for path, reason in problems[:5])
            raise DatasetUnusable(
                f"{dataset.name}: no usable {kind} image in {raw.root}; {len(readings)} others are usable, "
                f"{len(problems)} files are not{':' if reasons else ''}{reasons}\n{dataset.wanted}"
            )


def _count(
    dataset: Dataset, config: ImagesConfig, candidates: Sequence[Candidate], rows: pd.DataFrame, quarantined: int
) -> dict[str, Any]:
    """Images found beside those of the official set, and images and groups of each split."""
    there = Counter((item.part, item.klass) for item in candidates)
    usable = Counter(zip(rows["part"], rows["klass"], strict=True))
    splits_of_group = rows[rows["split"] != UNUSED].groupby("group")["split"].nunique()
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
        "leaking": bool((splits_of_group > 1).any()),
        "leaking_groups": int((splits_of_group > 1).sum()),
    }


def read_manifest(version: Version) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Images, quarantine and counts of a published version."""
    images, quarantine = (pd.read_parquet(version.path / f"{name}.parquet") for name in ("images", "quarantine"))
    return images, quarantine, json.loads((version.path / "counts.json").read_text())
