"""Figures of an evaluation: AUROC of all scores, ROC and precision-recall curves of images and pixels."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.metrics import Floats, checked, cumulative
from pipeline.evaluation.records import Record, find, score_columns
from pipeline.evaluation.saved import LaneEvaluation
from pipeline.evaluation.score_name import METHOD, PRIMARY, ScoreName, kind_of
from pipeline.reports.evaluation.verdict import level_of
from pipeline.reports.kit import figures
from pipeline.reports.kit.figures import COLOURS, Figure, axis, figure, points
from pipeline.reports.kit.publish import Plot
from pipeline.reports.kit.words import column_title, record_title

NAMES = {  # kind of score → its name in the legend
    "committee": "committee",
    "method": "ProxyAno",
    "member": "other learned methods",
    "null": "without the network",
    "control": "controls",
    "shortcut": "shortcuts",
}
COOL = ("#2f8fd8", "#1fa37a", "#8f6bd9", "#d04a7c", "#c9a21b", "#4fb0b8")  # curves of learned scores
WARM = ("#d9741f", "#a8562a", "#e0a15c", "#7d6a58", "#c4483a", "#b08968")  # curves of controls
POINTS = 150  # of a curve, at most
OPERATING = points("at the threshold", [], [], "rgba(0,0,0,0)", size=12, line={"width": 3})
OPERATING |= {"hoverinfo": "skip", "showlegend": False}
"""Trace of the threshold's point on the ROC, which the page moves."""
Curve = tuple[list[float], list[float]]


def plots(lane: LaneEvaluation) -> list[Plot]:
    """All figures of a data set, as the page shows them."""
    name, level = lane.dataset, level_of(lane.records, lane.dataset)
    found = [Plot(id=f"{name}-forest", title=f"{level.capitalize()} AUROC with 95 % intervals", choices=[forest(lane)])]
    titles = {"roc": "ROC", "pr": "Precision and recall"}
    for of, drawn in image_curves(lane).items():
        found.append(Plot(id=f"{name}-{of}", title=f"{titles[of]}, image level", choices=[drawn]))
    for of, by_lesion in pixel_curves(lane).items():
        found.append(Plot(id=f"{name}-pixel-{of}", title=f"{titles[of]}, pixels", choices=by_lesion, choose="lesion"))
    return found


def forest(lane: LaneEvaluation) -> Figure:
    """AUROC of every score with its interval, at the level that decides."""
    level = level_of(lane.records, lane.dataset)
    found = find(lane.records, level=level, metric="auroc", subset="all")
    rows = [(record_title(record), NAMES[kind_of(record["method"])], record) for record in found]
    colours = {name: COLOURS[of] for of, name in NAMES.items()}
    paper = "" if lane.about("drawn") else lane.dataset
    return figures.forest(rows, colours, paper, level, hollow=NAMES["shortcut"])


def image_curves(lane: LaneEvaluation) -> dict[str, Figure]:
    """ROC (``roc``) and precision-recall (``pr``) of the test images; empty where a class is missing.

    A point of the ROC carries [score, row of the lane's scores]: the image with the lowest score called abnormal
    there, and none at the first point. The ROC's last trace is ``OPERATING``.
    """
    places = np.flatnonzero((lane.scores["split"] == "test").to_numpy())
    test = lane.scores.iloc[places]
    order = [name for name in _ranked(lane.records, "image") if name in score_columns(lane.scores)]
    if test["label"].nunique() < 2 or not order:
        return {}
    curves: dict[str, dict[str, Curve]] = {}
    at = {}
    for column in order:
        labels, values = checked(test["label"].to_numpy(), test[column].to_numpy(float))
        tp, fp = (counts[0] for counts in cumulative(labels, values, np.ones((1, labels.size))))
        x, y = np.r_[0, fp / fp[-1]], np.r_[0, tp / tp[-1]]
        curves[column] = {"roc": _thin(x, y), "pr": _thin(tp / tp[-1], tp / np.maximum(tp + fp, 1))}
        distinct, first = np.unique(-values, return_index=True)
        images = [[float(f"{-score:.5g}"), int(row)] for score, row in zip(distinct, places[first], strict=True)]
        at[column] = [images[k - 1] if k else None for k in _kept(x, y)]
    pair = _curve_pair(curves)
    for trace, column in zip(pair["roc"]["data"], order, strict=False):
        trace |= {"customdata": at[column], "hoverinfo": "none"}
    pair["roc"]["data"].append(OPERATING)
    return pair


def pixel_curves(lane: LaneEvaluation) -> dict[str, list[Figure]]:
    """ROC and precision-recall of pixels, one figure per lesion type; empty without curves."""
    found: dict[str, list[Figure]] = {"roc": [], "pr": []}
    order = [name for name in _ranked(lane.records, "pixel") if name in lane.curves]
    for subset in dict.fromkeys(name for column in order for name in lane.curves[column]):
        curves = {
            column: {"roc": (c["fpr"], c["tpr"]), "pr": (c["recall"], c["precision"])}
            for column in order
            if (c := lane.curves[column].get(subset)) and c["fpr"]
        }
        if curves:
            for of, drawn in _curve_pair(curves).items():
                found[of].append({**drawn, "title": "all lesions" if subset == "all" else subset})
    return found if found["roc"] else {}


def by_rank(lane: LaneEvaluation) -> list[str]:
    """Image scores without shortcuts: the method's first, among them the primary one, each in falling AUROC."""
    # where the test has no normals, the AUROC against held-out normals counts
    value = _aurocs(lane.records, "image", "auroc_heldout") | _aurocs(lane.records, "image", "auroc")

    def place(column: str) -> tuple[bool, bool, float]:
        name = ScoreName.parse(column)
        return name.kind != METHOD, name.score != PRIMARY, -value.get(column, 0.0)

    return sorted((name for name in score_columns(lane.scores) if _kind(name) != "shortcut"), key=place)


def _kind(column: str) -> str:
    return ScoreName.parse(column).kind


def _aurocs(records: list[Record], level: str, metric: str) -> dict[str, float]:
    found = find(records, level=level, metric=metric, subset="all")
    return {f"{r['method']}:{r['score']}": float(r["value"]) for r in found}


def _ranked(records: list[Record], level: str) -> list[str]:
    """Score columns without shortcuts in falling AUROC."""
    value = _aurocs(records, level, "auroc")
    return sorted((name for name in value if _kind(name) != "shortcut"), key=lambda name: -value[name])


def _curve_pair(curves: Mapping[str, Mapping[str, Curve]]) -> dict[str, Figure]:
    """The ROC and the precision-recall figure: committee, the four best methods and controls; a click shows others."""
    shown = {name for of in ("committee", "method", "control") for name in [n for n in curves if _kind(n) == of][:4]}
    used = {COOL: 0, WARM: 0}
    lines: dict[str, list[Figure]] = {"roc": [], "pr": []}
    for name, pair in curves.items():
        series = COOL if _kind(name) in ("method", "member", "committee") else WARM
        colour = series[used[series] % len(series)]
        used[series] += 1
        for of, curve in pair.items():
            line = _line(column_title(name), curve, colour, "solid" if _kind(name) == "method" else "dot")
            lines[of].append(line | {"visible": True if name in shown else "legendonly"})
    lines["roc"].append(_line("chance", ([0.0, 1.0], [0.0, 1.0]), "#8a8f98", "dash") | {"showlegend": False})
    unit, top = {"range": [0, 1]}, {"range": [0, 1.01]}
    return {
        "roc": figure(lines["roc"], xaxis=axis("false-positive rate", **unit), yaxis=axis("true-positive rate", **top)),
        "pr": figure(lines["pr"], xaxis=axis("recall", **unit), yaxis=axis("precision", **top)),
    }


def _line(name: str, curve: Curve, colour: str, dash: str) -> Figure:
    line = {"color": colour, "width": 2, "dash": dash}
    return {"type": "scatter", "mode": "lines", "name": name, "x": curve[0], "y": curve[1], "line": line}


def _kept(x: Floats, y: Floats) -> NDArray[np.intp]:
    """Indices of at most ``POINTS`` points, evenly spaced along the curve."""
    if len(x) <= POINTS:
        return np.arange(len(x))
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    return np.unique(np.searchsorted(along, np.linspace(0, along[-1], POINTS)).clip(0, len(x) - 1))


def _thin(x: Floats, y: Floats) -> Curve:
    keep = _kept(x, y)
    return [round(float(v), 4) for v in x[keep]], [round(float(v), 4) for v in y[keep]]
