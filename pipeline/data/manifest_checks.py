"""Checks of a manifest, as plain functions: (passed, numbers and names for the asset check's metadata)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipeline.data.datasets import Dataset
from pipeline.data.decode import decode_image, decode_mask
from pipeline.data.duplicates import near_duplicates, small_gray
from pipeline.data.raw import RawFolder
from pipeline.data.splits import SPLITS
from pipeline.errors import UnusableImage

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
    """No two normals of different splits show the same thing; searched again, over all pairs of splits.

    Normals that look like an abnormal image of the test are counted in ``look_like_abnormal`` and do not fail.
    """
    rule = dataset.duplicates
    if rule is None:
        return True, {"pairs": 0, "note": "this data set is split by patient"}
    used = images[images["split"].isin(SPLITS)].reset_index(drop=True)
    smalls = [small_gray(decode_image(raw.read(path)), dataset.middle) for path in used["path"]]
    pairs = [(i, j) for i, j in near_duplicates(smalls, rule=rule) if i < j]
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
                decode_mask(raw.read(path), (int(str(row.height)), int(str(row.width))))
            except UnusableImage as error:
                wrong.append(f"{path}: {error}")
    return not wrong, {"masks": masks, "wrong": len(wrong), "examples": wrong[:FEW]}
