"""Images of raw files: what a manifest has of each, or why it cannot be used."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from tqdm import tqdm

from pipeline.data.datasets import Dataset
from pipeline.data.decode import Frame
from pipeline.data.duplicates import Look, look_of
from pipeline.data.layouts import Candidate
from pipeline.data.raw import RawFolder
from pipeline.data.slices import Mask, check_mask, masks_sha256, opened, read_mask, slice_path, slice_sha256
from pipeline.errors import EmptyFrame, UnusableImage

Problem = tuple[str, str]  # path of a file that cannot be used, and the reason
FOR_SPLITS = ("part", "official", "patient", "order")  # fields of a candidate that splits and counts need


@dataclass(frozen=True)
class Reading:
    """A usable image: its row and, where duplicates are looked for, what it is compared by."""

    row: dict[str, Any]
    look: Look | None


Found = tuple[list[Reading], list[Problem]]
"""What a file gave."""


def read_files(
    raw: RawFolder, dataset: Dataset, candidates: Sequence[Candidate], *, progress: bool = False
) -> list[Found]:
    """What every file gives, in order; threads read them."""
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:  # decoding releases the interpreter lock
        each, title = pool.map(partial(read_file, raw, dataset), candidates), f"{dataset.name}: reading"
        return list(tqdm(each, total=len(candidates), desc=title, disable=not progress))


def read_file(raw: RawFolder, dataset: Dataset, candidate: Candidate) -> Found:
    """Every usable image of a file, one in memory at a time, and why others are not."""
    path = candidate.path
    if reason := candidate.refused or dataset.conflicts.get(candidate.key):
        return [], [(path, reason)]
    label = int(candidate.klass != dataset.classes[0])
    if label and dataset.lesions and not candidate.masks:
        return [], [(path, "an annotated image without any lesion mask")]
    readings, refused, count, place = list[Reading](), dict[int, str](), 0, tuple[float, ...]()
    try:
        with opened(raw, path) as (digest, frames):
            for frame in frames:
                count += 1
                if frame.pixels is None:
                    empty = f"{frame.kind}: " if frame.kind == EmptyFrame.kind else ""
                    refused[frame.number] = empty + frame.reason
                    continue
                rule = dataset.duplicates
                look = None if rule is None else look_of(frame.pixels, dataset.middle, rule)
                place = frame.origin.place
                readings.append(Reading(_row(candidate, frame, label), look))
    except UnusableImage as error:
        return [], [(path, str(error))]
    if count > 1 and not dataset.stacks:
        reason = f"the file holds {count} pages or slices; a data set takes one image a file: store each by itself"
        return [], [(path, reason)]
    problems = [(path if count == 1 else slice_path(path, number), text) for number, text in refused.items()]
    unusable = _add_masks(raw, candidate, readings, place, count)
    if unusable:
        reason = f"its mask {unusable[0][0]} cannot be used, and a missing lesion would count as normal"
        return [], [*unusable, (path, reason)]
    for reading in readings:
        row, number = reading.row, int(reading.row["slice"])
        sha256 = digest if count == 1 else slice_sha256(digest, number)
        row |= {"image_id": sha256[:16], "sha256": sha256, "bytes": -(-raw.sizes[path] // count)}
        if count > 1:
            row |= {"path": slice_path(path, number), "volume": row["volume"] or path}
    return readings, problems


def _row(candidate: Candidate, frame: Frame, label: int) -> dict[str, Any]:
    """What is known of an image from its candidate and its frame."""
    assert frame.pixels is not None
    height, width = frame.pixels.shape[:2]
    row = {"label": label, "width": width, "height": height}
    row |= {name: getattr(candidate, name) for name in ("path", "klass", "source", *FOR_SPLITS)}
    row |= {"slice": frame.number, "gray_values": frame.gray_values, "volume": frame.origin.series}
    return row | {name: getattr(frame.origin, name) for name in ("subject", "plane", "pixel", "spacing")}


def _add_masks(
    raw: RawFolder, candidate: Candidate, readings: Sequence[Reading], place: tuple[float, ...], count: int
) -> list[Problem]:
    """Put masks and the hash of their contents into the rows of a file's images; which masks cannot be used."""
    problems = dict[str, str]()
    if count > 1:
        for file in candidate.masks.values():
            try:
                check_mask(raw, file, place, count)
            except UnusableImage as error:
                problems[file] = str(error)
    for row in (reading.row for reading in readings):
        own, read = dict[str, str](), list[Mask]()
        for lesion, file in candidate.masks.items():
            own[lesion] = slice_path(file, row["slice"]) if count > 1 else file
            try:
                if file not in problems:
                    read.append(read_mask(raw, own[lesion]))
                    read[-1].marked((row["height"], row["width"]))
            except UnusableImage as error:
                problems[file] = str(error)
        row |= {"masks": json.dumps(own), "masks_sha256": masks_sha256(read)}
    return list(problems.items())
