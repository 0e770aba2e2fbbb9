"""Figures of the ablations as plain plotly JSON: each table as dots beside the paper's, Figs. 11 and 12 as lines."""

from collections.abc import Sequence
from typing import Any

from pipeline.reports.ablations.experiments import DataSet, MeanAUROC
from pipeline.reports.ablations.paper import Entry, Printed
from pipeline.reports.kit.figures import COLOURS, Figure


def drawn(printed: Printed, data: DataSet) -> Figure | None:
    """The figure of a table or figure of the paper; None where nothing of it was made."""
    made = [(entry, found) for entry in printed.entries if (found := _auroc(entry, data)) is not None]
    if not made:
        return None
    return _swept(printed, made) if printed.axis else _dots(printed, data, made)


def _auroc(entry: Entry, data: DataSet) -> MeanAUROC | None:
    return data.auroc(entry.name) if entry.name in data.rows else None


def _dots(printed: Printed, data: DataSet, made: Sequence[tuple[Entry, MeanAUROC]]) -> Figure:
    """A dot each with its 95 % interval, the paper's beside it; in the paper's order, from above."""

    def name(entry: Entry) -> str:
        return entry.label or data.rows[entry.name].label

    known = [entry for entry in printed.entries if entry.auc is not None and entry.name in data.rows]
    records = [record for _, record in made]
    ours = _trace("here", [_value(r) for r in records], [name(entry) for entry, _ in made], COLOURS["method"])
    ours["error_x"] = _bars(records)
    paper = _trace("paper", [entry.auc for entry in known], [name(entry) for entry in known], COLOURS["paper"])
    paper["marker"]["symbol"] = "diamond-open"
    order = [name(entry) for entry in reversed(printed.entries) if entry.name in data.rows]
    layout = {
        "xaxis": {"title": {"text": "image AUROC"}, "nticks": 6},
        "yaxis": {"categoryorder": "array", "categoryarray": order},
        "plotHeight": 60 + 30 * len(order),
    }
    return {"title": "", "data": [ours, paper], "layout": layout}


def _swept(printed: Printed, made: Sequence[tuple[Entry, MeanAUROC]]) -> Figure:
    """AUROC against what is varied; what stands beside the axis is a dashed line."""
    points = [(entry, record) for entry, record in made if entry.x is not None]
    ours = _trace("here", [entry.x for entry, _ in points], [_value(r) for _, r in points], COLOURS["method"])
    ours |= {"mode": "lines+markers", "error_y": _bars([record for _, record in points])}
    known = [entry for entry in printed.entries if entry.auc is not None and entry.x is not None]
    traces = [ours]
    if known:
        paper = _trace("paper", [entry.x for entry in known], [entry.auc for entry in known], COLOURS["paper"])
        traces.append(paper)
    layout: dict[str, Any] = {"xaxis": {"title": {"text": printed.axis}}, "yaxis": {"title": {"text": "image AUROC"}}}
    values = [entry.x for entry in printed.entries if entry.x is not None]
    layout["xaxis"] |= {"tickvals": values, "type": "log" if all(values) else "linear"}
    line = {"dash": "dash", "width": 1.5, "color": COLOURS["method"]}
    beside = [(entry, _value(record)) for entry, record in made if entry.x is None]
    layout["shapes"] = [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "line": line}
        for _, value in beside
    ]
    place = {"xref": "paper", "x": 1, "xanchor": "right", "yanchor": "bottom", "showarrow": False}
    layout["annotations"] = [{**place, "y": value, "text": entry.label} for entry, value in beside]
    return {"title": "", "data": traces, "layout": layout}


def _trace(name: str, x: Sequence[Any], y: Sequence[Any], colour: str) -> dict[str, Any]:
    marker = {"color": colour, "size": 9}
    return {"type": "scatter", "mode": "markers", "name": name, "x": list(x), "y": list(y), "marker": marker}


def _value(found: MeanAUROC) -> float:
    return round(found.value, 4)


def _bars(every: Sequence[MeanAUROC]) -> dict[str, Any]:
    up, down = (
        [round(abs(end - one.value), 4) for one, end in zip(every, ends, strict=True)]
        for ends in ([one.high for one in every], [one.low for one in every])
    )
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.6, "width": 4}
