"""What the page's script explores: groups of images, their scores, and what a threshold gets wrong."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.saved import LaneEvaluation
from pipeline.reports.evaluation.figures import by_rank
from pipeline.reports.evaluation.gallery import KINDS, Atlas, Shown
from pipeline.reports.kit.words import column_title

NORMALS = {  # split → name and colour of its normals
    "val": ("validation normals", "#8a8f98"),
    "holdout": ("held-out normals", "#1fa37a"),
    "test": ("test normals", "#2f8fd8"),
}
ABNORMAL = ("#d9741f", "#d04a7c", "#c9a21b", "#8f6bd9")
TOP = 0.995
"""Quantile of the scores where the axis of the plot and the slider end; points beyond are drawn at the edge."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Images of one row of the score plot."""

    title: str
    normal: bool
    test: bool
    colour: str


@dataclass(frozen=True, kw_only=True)
class Errors:
    """What a threshold gets wrong in some groups: false alarms where they are normal, else misses."""

    title: str
    normal: bool
    wrong: int
    count: int
    groups: Sequence[int]  # numbers of the groups counted
    what: str  # false alarms or misses


def grouped(scores: pd.DataFrame) -> tuple[list[Group], NDArray[np.intp]]:
    """Groups with at least one image, normals first, and the group's number of every row (-1: none)."""
    normal, test = scores["label"] == 0, scores["split"] == "test"
    found = [
        (Group(title=title, normal=True, test=split == "test", colour=colour), normal & (scores["split"] == split))
        for split, (title, colour) in NORMALS.items()
    ]
    for number, klass in enumerate(sorted(scores.loc[~normal & test, "klass"].unique())):
        colour, title = ABNORMAL[number % len(ABNORMAL)], str(klass).replace("_", " ")
        group = Group(title=title, normal=False, test=True, colour=colour)
        found.append((group, ~normal & test & (scores["klass"] == klass)))
    found = [(group, rows) for group, rows in found if rows.any()]
    number_of = np.full(len(scores), -1)
    for number, (_, rows) in enumerate(found):
        number_of[rows.to_numpy()] = number
    return [group for group, _ in found], number_of


def errors_at(scores: pd.DataFrame, column: str, threshold: float) -> list[Errors]:
    """False alarms of each group of normals and misses of each class, where a score above ``threshold`` is abnormal."""
    groups, number_of = grouped(scores)
    above = scores[column].to_numpy(float) > threshold

    def errors(title: str, normal: bool, numbers: list[int]) -> Errors:
        rows = np.isin(number_of, numbers)
        wrong, what = int((above[rows] == normal).sum()), "false alarms" if normal else "misses"
        return Errors(title=title, normal=normal, wrong=wrong, count=int(rows.sum()), groups=numbers, what=what)

    found = [errors(group.title, group.normal, [number]) for number, group in enumerate(groups)]
    classes = [number for number, group in enumerate(groups) if not group.normal]
    return [*found, errors("all abnormal", False, classes)] if len(classes) > 1 else found


def explorer(lane: LaneEvaluation, atlas: Atlas | None, shown: Sequence[Shown]) -> dict[str, Any]:
    """Everything the page's script reads of one lane; empty where it has no image score with a threshold."""
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
        "errors": [asdict(one) for one in errors_at(lane.scores, columns[0], thresholds[columns[0]])],
        "atlas": None if atlas is None else {"columns": atlas.columns, "rows": atlas.rows, "shown": atlas.shown},
        "gallery": [_drawn(one) for one in shown],
    }


def _drawn(one: Shown) -> dict[str, Any]:
    """An image of the gallery without the input of its first canvas, which is on the page already."""
    first, *others = one.canvases
    rest = {layer: link for layer, link in first["layers"].items() if layer != "input"}
    canvases = [{**first, "layers": rest}, *others]
    return {"row": one.row, "kind": KINDS[one.kind], "klass": one.klass, "canvases": canvases}


def _values(scores: pd.DataFrame, column: str, threshold: float) -> dict[str, Any]:
    """Values of a score and the range of its axis; nine digits tell any two scores apart."""
    values = scores[column].to_numpy(float)
    finite = values[np.isfinite(values)]
    low, high = (float(f"{edge:.6g}") for edge in np.quantile(finite, [0.0, TOP])) if finite.size else (0.0, 1.0)
    return {
        "title": column_title(column),
        "threshold": float(f"{threshold:.9g}"),
        "low": min(low, threshold),
        "high": max(high, threshold, low + 1e-6),
        "values": [float(f"{value:.9g}") if np.isfinite(value) else None for value in values],
    }
