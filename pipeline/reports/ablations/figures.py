"""The ablations' figures: tables as dots with the paper's, Figs. 11 and 12 as lines."""

from collections.abc import Iterator, Sequence

from pipeline.reports.ablations.experiments import DataSet, MeanAUROC
from pipeline.reports.ablations.paper import Entry, Printed
from pipeline.reports.kit.figures import COLOURS, Estimate, Figure, axis, error_bars, figure, points
from pipeline.reports.kit.publish import Plot


def plots(data: DataSet) -> Iterator[Plot]:
    """A figure for each of the paper's tables and figures of which something was run."""
    for printed in data.printed:
        if (found := drawn(printed, data)) is not None:
            yield Plot(id=f"{data.key}-{printed.key}", title=printed.title, choices=[found])


def drawn(printed: Printed, data: DataSet) -> Figure | None:
    """The figure of one of the paper's tables or figures; None where nothing of it was run."""
    entries = [entry for entry in printed.entries if entry.name in data.rows]
    ours = [(entry, found) for entry in entries if (found := data.auroc(entry.name)) is not None]
    if not ours:
        return None
    return _lines(printed, ours) if printed.axis else _dots(entries, data, ours)


def _dots(entries: Sequence[Entry], data: DataSet, ours: Sequence[tuple[Entry, MeanAUROC]]) -> Figure:
    """Our AUROCs with 95 % intervals and the paper's, in the paper's order from the top."""

    def name(entry: Entry) -> str:
        return entry.label or data.rows[entry.name].label

    here = points("here", _values(ours), [name(entry) for entry, _ in ours], COLOURS["method"])
    here["error_x"] = error_bars(_estimates(ours), COLOURS["method"])
    known = [entry for entry in entries if entry.auc is not None]
    paper = points("paper", [e.auc for e in known], [name(e) for e in known], COLOURS["paper"], symbol="diamond-open")
    rows = {"categoryorder": "array", "categoryarray": [name(entry) for entry in reversed(entries)]}
    return figure([here, paper], xaxis=axis("image AUROC", nticks=6), yaxis=rows, plotHeight=60 + 30 * len(entries))


def _lines(printed: Printed, ours: Sequence[tuple[Entry, MeanAUROC]]) -> Figure:
    """AUROC against what is varied; experiments without a place on the axis are dashed lines."""
    on_axis = [(entry, found) for entry, found in ours if entry.x is not None]
    here = points("here", [entry.x for entry, _ in on_axis], _values(on_axis), COLOURS["method"])
    here |= {"mode": "lines+markers", "error_y": error_bars(_estimates(on_axis), COLOURS["method"])}
    known = [entry for entry in printed.entries if entry.auc is not None and entry.x is not None]
    paper = points("paper", [entry.x for entry in known], [entry.auc for entry in known], COLOURS["paper"])
    off_axis = [(entry.label, round(found.value, 4)) for entry, found in ours if entry.x is None]
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1}
    style = {"dash": "dash", "width": 1.5, "color": COLOURS["method"]}
    place = {"xref": "paper", "x": 1, "xanchor": "right", "yanchor": "bottom", "showarrow": False}
    ticks = [entry.x for entry in printed.entries if entry.x is not None]
    return figure(
        [here, paper] if known else [here],
        xaxis=axis(printed.axis, tickvals=ticks, type="log" if all(ticks) else "linear"),
        yaxis=axis("image AUROC"),
        shapes=[{**line, "y0": value, "y1": value, "line": style} for _, value in off_axis],
        annotations=[{**place, "y": value, "text": label} for label, value in off_axis],
    )


def _values(ours: Sequence[tuple[Entry, MeanAUROC]]) -> list[float]:
    return [round(found.value, 4) for _, found in ours]


def _estimates(ours: Sequence[tuple[Entry, MeanAUROC]]) -> list[Estimate]:
    return [(found.value, found.low, found.high) for _, found in ours]
