"""Interactive figures as plain plotly JSON; the page draws them with the theme's own colours.

A figure is ``{"title", "data", "layout"}``, its layout with ``plotHeight`` in px where the default does not fit; a
*plot* is a list of figures among which the reader chooses.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from models.metrics import checked, cumulative
from pipeline.steps.reports.lanes import LaneEvaluation
from pipeline.steps.reports.records import Record, find, kind, score_columns, split_name
from pipeline.steps.reports.verdict import PAPER, level_of, number, title

NAMES = {
    "committee": "committee",
    "method": "ProxyAno",
    "member": "other learned methods",
    "control": "controls",
    "shortcut": "shortcuts",
}
"""Kinds of scores for people."""
COLOURS = {
    "method": "#2f8fd8",
    "member": "#6b5fd0",
    "committee": "#16a3b8",
    "control": "#d9741f",
    "shortcut": "#8a8f98",
    "paper": "#1fa37a",
}
SERIES = ("#2f8fd8", "#1fa37a", "#8f6bd9", "#d04a7c", "#c9a21b", "#4fb0b8")
CONTROL_SERIES = ("#d9741f", "#a8562a", "#e0a15c", "#7d6a58", "#c4483a", "#b08968")
SPLITS = {"val": ("validation normals", "#8a8f98"), "holdout": ("held-out normals", "#1fa37a")}

Figure = dict[str, Any]


def _name(column: str) -> str:
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


def _thin(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], points: int = 150) -> tuple[list[float], list[float]]:
    keep = np.unique(np.linspace(0, len(x) - 1, points).astype(int))
    if len(x) > points:  # corners of the curve carry the shape: keep evenly in both directions
        along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        keep = np.unique(np.searchsorted(along, np.linspace(0, along[-1], points)).clip(0, len(x) - 1))
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
                _name(n),
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
    """ROC and precision-recall figures of the test images; empty where a class is missing."""
    test = lane.scores[lane.scores["split"] == "test"]
    if test["label"].nunique() < 2:
        return {}
    curves = {}
    order = _ranked(score_columns(lane.scores), lane.records, "image")
    for column in order:
        labels, values = checked(test["label"].to_numpy(), test[column].to_numpy(float))
        tp, fp = (c[0] for c in cumulative(labels, values, np.ones((1, labels.size))))
        roc = _thin(np.r_[0, fp / fp[-1]], np.r_[0, tp / tp[-1]])
        curves[column] = {"roc": roc, "pr": _thin(tp / tp[-1], tp / np.maximum(tp + fp, 1))}
    return _curve_pair(curves, order) if order else {}


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


def histograms(lane: LaneEvaluation, bins: int = 32) -> list[Figure]:
    """Score histograms of validation, held-out and test normals and each class, one choice a score."""
    ranked = _ranked(score_columns(lane.scores), lane.records, "image")
    order = sorted(ranked, key=lambda name: kind(split_name(name)[0]) != "method")
    return [_histogram(lane.scores, column, lane.about("thresholds").get(column), bins) for column in order]


def _histogram(scores: pd.DataFrame, column: str, threshold: float | None, bins: int) -> Figure:
    test = scores[scores["split"] == "test"]
    groups = [
        (label, colour, scores[(scores["split"] == s) & (scores["label"] == 0)])
        for s, (label, colour) in SPLITS.items()
    ]
    groups.append(("test normals", SERIES[0], test[test["label"] == 0]))
    diseased = test[test["label"] == 1]
    for colour, klass in zip(
        ("#d9741f", "#d04a7c", "#c9a21b", "#8f6bd9") * 3, sorted(diseased["klass"].unique()), strict=False
    ):
        groups.append((str(klass), colour, diseased[diseased["klass"] == klass]))
    values = scores[column].to_numpy(float)
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.0, 0.995])
    edges = np.linspace(low, max(high, low + 1e-9), bins + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    data = []
    for label, colour, frame in groups:
        if len(frame):
            share = np.histogram(np.clip(frame[column].to_numpy(float), edges[0], edges[-1]), edges)[0] / len(frame)
            line = _line(
                f"{label} ({len(frame)})",
                [float(f"{c:.5g}") for c in centres],
                [round(float(s), 4) for s in share],
                colour,
                True,
                "solid",
            )
            line["line"] |= {"shape": "hvh"}
            data.append(line | {"fill": "tozeroy", "fillcolor": f"{colour}1c"})
    layout: dict[str, Any] = {"xaxis": _axis("score"), "yaxis": _axis("share of images", rangemode="tozero")}
    if threshold is not None:
        layout["shapes"] = [
            {
                "type": "line",
                "x0": threshold,
                "x1": threshold,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"dash": "dash", "width": 1.5, "color": "#8a8f98"},
            }
        ]
        layout["annotations"] = [
            {
                "x": threshold,
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
                "showarrow": False,
                "text": "label-free threshold",
                "font": {"size": 11},
            }
        ]
    return {"title": _name(column), "data": data, "layout": layout}


def forest(lane: LaneEvaluation) -> Figure:
    """AUROC of every score with its interval, best on top, the paper's as a line."""
    level = level_of(lane.records, lane.dataset)
    rows = find(lane.records, level=level, metric="auroc", subset="all")
    rows = sorted(rows, key=lambda r: float(r["value"]))
    names = {id(r): _name(f"{r['method']}:{r['score']}") for r in rows}
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
