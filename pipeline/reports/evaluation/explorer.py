"""What the page needs to explore scores: groups of images, what a threshold gets wrong, and all values."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.saved import LaneEvaluation
from pipeline.reports.evaluation.atlas import Atlas
from pipeline.reports.evaluation.gallery import KINDS, Shown
from pipeline.reports.kit.figures import by_rank, column_name

NORMALS = {
    "val": ("validation normals", "#8a8f98"),
    "holdout": ("held-out normals", "#1fa37a"),
    "test": ("test normals", "#2f8fd8"),
}
"""Split → its normals for people, and their colour."""
ABNORMAL = ("#d9741f", "#d04a7c", "#c9a21b", "#8f6bd9")
TOP = 0.995
"""Quantile of the scores where the axis of the plot and the slider end; points beyond stand at the edge."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Images of one row of the score plot."""

    title: str
    normal: bool
    test: bool
    colour: str


@dataclass(frozen=True, kw_only=True)
class Errors:
    """What a threshold gets wrong in a group: false alarms where it is normal, else misses."""

    title: str
    normal: bool
    wrong: int
    count: int
    groups: Sequence[int]  # numbers of the groups counted

    @property
    def what(self) -> str:
        """Name of the error."""
        return "false alarms" if self.normal else "misses"


def grouped(scores: pd.DataFrame) -> tuple[list[Group], NDArray[np.intp]]:
    """Groups with at least one image, normals first, and the group's number of every row (-1: of none)."""
    normal = scores["label"] == 0
    held = [
        (Group(title=title, normal=True, test=split == "test", colour=colour), normal & (scores["split"] == split))
        for split, (title, colour) in NORMALS.items()
    ]
    diseased = ~normal & (scores["split"] == "test")
    for number, klass in enumerate(sorted(scores.loc[diseased, "klass"].unique())):
        colour = ABNORMAL[number % len(ABNORMAL)]
        group = Group(title=str(klass).replace("_", " "), normal=False, test=True, colour=colour)
        held.append((group, diseased & (scores["klass"] == klass)))
    held = [(group, rows) for group, rows in held if rows.any()]
    number_of = np.full(len(scores), -1)
    for number, (_, rows) in enumerate(held):
        number_of[rows.to_numpy()] = number
    return [group for group, _ in held], number_of


def errors_at(scores: pd.DataFrame, column: str, threshold: float) -> list[Errors]:
    """False alarms of each group of normals and misses of each class, where a score above ``threshold`` is abnormal."""
    groups, number_of = grouped(scores)
    above = scores[column].to_numpy(float) > threshold
    found = []
    for number, group in enumerate(groups):
        rows = number_of == number
        wrong = int((above[rows] == group.normal).sum())
        found.append(
            Errors(title=group.title, normal=group.normal, wrong=wrong, count=int(rows.sum()), groups=[number])
        )
    misses = [one for one in found if not one.normal]
    if len(misses) > 1:
        wrong, count = sum(one.wrong for one in misses), sum(one.count for one in misses)
        numbers = [number for one in misses for number in one.groups]
        found.append(Errors(title="all abnormal", normal=False, wrong=wrong, count=count, groups=numbers))
    return found


def explorer(lane: LaneEvaluation, atlas: Atlas | None, shown: Sequence[Shown]) -> dict[str, Any]:
    """Everything the page's script reads of one lane, empty where it has no image score with a threshold."""
    thresholds = lane.about("thresholds")
    columns = [column for column in by_rank(lane) if column in thresholds]
    groups, number_of = grouped(lane.scores)
    if not columns or not groups:
        return {}
    return {
        "groups": [asdict(group) for group in groups],
        "ids": lane.scores["image_id"].astype(str).tolist(),
        "group": number_of.tolist(),
        "scores": [_values(lane.scores, column, float(thresholds[column])) for column in columns],
        "errors": [
            asdict(one) | {"what": one.what} for one in errors_at(lane.scores, columns[0], thresholds[columns[0]])
        ],
        "atlas": None if atlas is None else {"columns": atlas.columns, "rows": atlas.rows, "shown": atlas.shown},
        "gallery": [_drawn(one) for one in shown],
    }


def _drawn(one: Shown) -> dict[str, Any]:
    """An image of the gallery; the input of its first canvas stands on the page already."""
    first, *others = one.canvases
    rest = {layer: link for layer, link in first["layers"].items() if layer != "input"}
    canvases = [{**first, "layers": rest}, *others]
    return {
        "row": one.row,
        "kind": KINDS.get(one.kind, one.kind),
        "klass": one.klass.replace("_", " "),
        "canvases": canvases,
    }


def _values(scores: pd.DataFrame, column: str, threshold: float) -> dict[str, Any]:
    """Values of a score, and the range of its axis; numbers keep nine digits, more than tell two scores apart."""
    values = scores[column].to_numpy(float)
    finite = values[np.isfinite(values)]
    low, high = (float(f"{edge:.6g}") for edge in np.quantile(finite, [0.0, TOP])) if finite.size else (0.0, 1.0)
    return {
        "title": column_name(column),
        "threshold": float(f"{threshold:.9g}"),
        "low": min(low, threshold),
        "high": max(high, threshold, low + 1e-6),
        "values": [float(f"{value:.9g}") if np.isfinite(value) else None for value in values],
    }
