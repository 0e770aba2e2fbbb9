"""Interactive figures as plain plotly JSON; the page draws them with the theme's own colours.

A figure is ``{"title", "data", "layout"}``, its layout with ``plotHeight`` in px where the default does not fit; a
*plot* is a list of figures among which the reader chooses.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.metrics import checked, cumulative
from pipeline.evaluation.records import PRIMARY, Record, find, kind, score_columns, split_name
from pipeline.evaluation.saved import LaneEvaluation
from pipeline.reports.kit.verdict import PAPER, level_of, number, title

NAMES = {
    "committee": "committee",
    "method": "ProxyAno",
    "member": "other learned methods",
    "null": "without the network",
    "control": "controls",
    "shortcut": "shortcuts",
}
"""Kinds of scores for people."""
COLOURS = {
    "method": "#2f8fd8",
    "member": "#6b5fd0",
    "committee": "#16a3b8",
    "null": "#9a7b1f",
    "control": "#d9741f",
    "shortcut": "#8a8f98",
    "paper": "#1fa37a",
}
SERIES = ("#2f8fd8", "#1fa37a", "#8f6bd9", "#d04a7c", "#c9a21b", "#4fb0b8")
CONTROL_SERIES = ("#d9741f", "#a8562a", "#e0a15c", "#7d6a58", "#c4483a", "#b08968")

Figure = dict[str, Any]
Floats = NDArray[np.float64]


def column_name(column: str) -> str:
    """A score column for people."""
    method, score = split_name(column)
    return title(method) if score == "value" else f"{title(method)}, {score}"


def _axis(text: str, **more: Any) -> dict[str, Any]:
    return {"title": {"text": text}, **more}


def _ranked(columns: Sequence[str], records: list[Record], level: str) -> list[str]:
    """Score columns in falling AUROC, the shortcuts left out."""
    value = {
        f"{r['method']}:{r['score']}": float(r["value"])
        for r in find(records, level=level, metric="auroc", subset="all")
    }
    shown = [name for name in columns if name in value and kind(split_name(name)[0]) != "shortcut"]
    return sorted(shown, key=lambda name: -value[name])


def _colours(columns: Sequence[str]) -> dict[str, str]:
    """A colour of its own for each score: cool for what learns and for committees, warm for controls."""
    used = {True: 0, False: 0}
    colours = {}
    for name in columns:
        learns = kind(split_name(name)[0]) in ("method", "member", "committee")
        palette = SERIES if learns else CONTROL_SERIES
        colours[name] = palette[used[learns] % len(palette)]
        used[learns] += 1
    return colours


def _kept(x: Floats, y: Floats, points: int = 150) -> NDArray[np.intp]:
    """Places of the points that carry a curve's shape."""
    if len(x) <= points:
        return np.arange(len(x))
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])  # even in both directions
    return np.unique(np.searchsorted(along, np.linspace(0, along[-1], points)).clip(0, len(x) - 1))


def _thin(x: Floats, y: Floats) -> tuple[list[float], list[float]]:
    keep = _kept(x, y)
    return [round(float(v), 4) for v in x[keep]], [round(float(v), 4) for v in y[keep]]


def _line(name: str, x: list[float], y: list[float], colour: str, shown: bool, dash: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": y,
        "line": {"color": colour, "width": 2, "dash": dash},
        "visible": True if shown else "legendonly",
    }


def _curve_pair(curves: dict[str, dict[str, tuple[list[float], list[float]]]], order: list[str]) -> dict[str, Figure]:
    """The ROC and the precision-recall figure; the five best methods and controls drawn, the rest in the legend."""
    colours = _colours(order)
    shown = {name for of in ("method", "control") for name in [n for n in order if kind(split_name(n)[0]) == of][:4]}
    axes = {
        "roc": ("false-positive rate", "true-positive rate"),
        "pr": ("recall", "precision"),
    }
    figures = {}
    for which, (x, y) in axes.items():
        data = [
            _line(
                column_name(n),
                *curves[n][which],
                colours[n],
                n in shown,
                "solid" if kind(split_name(n)[0]) == "method" else "dot",
            )
            for n in order
        ]
        if which == "roc":
            data.append(_line("chance", [0.0, 1.0], [0.0, 1.0], "#8a8f98", True, "dash") | {"showlegend": False})
        layout = {"xaxis": _axis(x, range=[0, 1]), "yaxis": _axis(y, range=[0, 1.01])}
        figures[which] = {"title": "", "data": data, "layout": layout}
    return figures


def image_curves(lane: LaneEvaluation) -> dict[str, Figure]:
    """ROC and precision-recall figures of the test images; empty where a class is missing.

    A point of the ROC carries [score, row of the lane's scores]: the image whose score is the lowest called abnormal
    there. The ROC's last trace is the point of a threshold, which the page moves.
    """
    places = np.flatnonzero((lane.scores["split"] == "test").to_numpy())
    test = lane.scores.iloc[places]
    if test["label"].nunique() < 2:
        return {}
    curves, at = {}, {}
    order = _ranked(score_columns(lane.scores), lane.records, "image")
    for column in order:
        labels, values = checked(test["label"].to_numpy(), test[column].to_numpy(float))
        tp, fp = (c[0] for c in cumulative(labels, values, np.ones((1, labels.size))))
        x, y = np.r_[0, fp / fp[-1]], np.r_[0, tp / tp[-1]]
        curves[column] = {"roc": _thin(x, y), "pr": _thin(tp / tp[-1], tp / np.maximum(tp + fp, 1))}
        distinct, first = np.unique(-values, return_index=True)
        at[column] = [_point(k, -distinct, places[first]) for k in _kept(x, y)]
    if not order:
        return {}
    pair = _curve_pair(curves, order)
    for trace, column in zip(pair["roc"]["data"], order, strict=False):
        trace |= {"customdata": at[column], "hoverinfo": "none"}
    pair["roc"]["data"].append(OPERATING)
    return pair


OPERATING: Figure = {
    "type": "scatter",
    "mode": "markers",
    "name": "at the threshold",
    "x": [],
    "y": [],
    "marker": {"size": 12, "color": "rgba(0,0,0,0)", "line": {"width": 3}},
    "hoverinfo": "skip",
    "showlegend": False,
}


def _point(k: int, scores: Floats, rows: NDArray[np.intp]) -> list[float | int] | None:
    """Score and row at place ``k`` of a curve; its first place calls no image abnormal."""
    return None if k == 0 else [float(f"{scores[k - 1]:.5g}"), int(rows[k - 1])]


def pixel_curves(lane: LaneEvaluation) -> dict[str, list[Figure]]:
    """ROC and precision-recall plots of pixels, one choice a lesion type."""
    plots: dict[str, list[Figure]] = {"roc": [], "pr": []}
    order = _ranked(list(lane.curves), lane.records, "pixel")
    for subset in dict.fromkeys(name for column in order for name in lane.curves[column]):
        drawn = {
            column: {"roc": (c["fpr"], c["tpr"]), "pr": (c["recall"], c["precision"])}
            for column in order
            if (c := lane.curves[column].get(subset)) and c["fpr"]
        }
        if drawn:
            pair = _curve_pair(drawn, [column for column in order if column in drawn])
            for which, figure in pair.items():
                plots[which].append({**figure, "title": "all lesions" if subset == "all" else subset})
    return plots if plots["roc"] else {}


def by_rank(lane: LaneEvaluation) -> list[str]:
    """Image scores without the shortcuts, the method's own first (the judged one before all), in falling AUROC.

    Where the test has no normals, the AUROC against held-out normals counts.
    """
    value = {
        f"{r['method']}:{r['score']}": float(r["value"])
        for metric in ("auroc_heldout", "auroc")
        for r in find(lane.records, level="image", metric=metric, subset="all")
    }

    def place(column: str) -> tuple[bool, bool, float]:
        method, score = split_name(column)
        return kind(method) != "method", score != PRIMARY, -value.get(column, 0.0)

    shown = [column for column in score_columns(lane.scores) if kind(split_name(column)[0]) != "shortcut"]
    return sorted(shown, key=place)


def forest(lane: LaneEvaluation) -> Figure:
    """AUROC of every score with its interval, best on top, the paper's as a line."""
    level = level_of(lane.records, lane.dataset)
    rows = find(lane.records, level=level, metric="auroc", subset="all")
    rows = sorted(rows, key=lambda r: float(r["value"]))
    names = {id(r): column_name(f"{r['method']}:{r['score']}") for r in rows}
    data = []
    for of in NAMES:
        some = [r for r in rows if kind(r["method"]) == of]
        if some:
            data.append(_dots(of, some, [names[id(r)] for r in some]))
    layout: dict[str, Any] = {
        "xaxis": _axis("AUROC", nticks=6),
        "yaxis": {"categoryorder": "array", "categoryarray": [names[id(r)] for r in rows]},
        "plotHeight": 40 + 26 * len(rows),
    }
    if lane.dataset in PAPER and PAPER[lane.dataset].level == level:
        paper = PAPER[lane.dataset].auroc
        line = {"dash": "dash", "width": 1.5, "color": COLOURS["paper"]}
        layout["shapes"] = [{"type": "line", "x0": paper, "x1": paper, "yref": "paper", "y0": 0, "y1": 1, "line": line}]
        font = {"size": 11, "color": COLOURS["paper"]}
        layout["annotations"] = [
            {
                "x": paper,
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
                "showarrow": False,
                "text": f"paper {number(paper)}",
                "font": font,
            }
        ]
    return {"title": "", "data": data, "layout": layout}


def _dots(of: str, rows: list[Record], names: list[str]) -> dict[str, Any]:
    def bar(r: Record, end: str) -> float:
        return 0.0 if r[end] is None else round(abs(float(r[end]) - float(r["value"])), 4)

    return {
        "type": "scatter",
        "mode": "markers",
        "name": NAMES[of],
        "x": [round(float(r["value"]), 4) for r in rows],
        "y": names,
        "marker": {"color": COLOURS[of], "size": 9, "symbol": "diamond" if of == "shortcut" else "circle"},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [bar(r, "high") for r in rows],
            "arrayminus": [bar(r, "low") for r in rows],
            "color": COLOURS[of],
            "thickness": 1.6,
            "width": 4,
        },
        "hovertemplate": "%{y}: %{x:.3f}<extra></extra>",
    }
