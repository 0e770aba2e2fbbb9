"""Interactive figures as plain plotly JSON; the page draws them with the theme's own colours.

A figure is ``{"title", "data", "layout"}``; its layout has ``plotHeight`` in px where the default does not fit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.records import Record
from pipeline.reports.kit.paper import LEVELS, PAPER
from pipeline.reports.kit.words import number

COLOURS = {  # kind of score → colour
    "method": "#2f8fd8",
    "member": "#6b5fd0",
    "committee": "#16a3b8",
    "null": "#9a7b1f",
    "control": "#d9741f",
    "shortcut": "#8a8f98",
    "paper": "#1fa37a",
}
Figure = dict[str, Any]
Estimate = tuple[float, float | None, float | None]  # value and the ends of its interval, None where there is none


def figure(traces: Sequence[Figure], **layout: Any) -> Figure:
    """A figure of traces."""
    return {"title": "", "data": list(traces), "layout": layout}


def axis(text: str, **more: Any) -> dict[str, Any]:
    """An axis with a title."""
    return {"title": {"text": text}, **more}


def points(name: str, x: Sequence[Any], y: Sequence[Any], colour: str, **marker: Any) -> Figure:
    """A trace of points."""
    shown = {"color": colour, "size": 9, **marker}
    return {"type": "scatter", "mode": "markers", "name": name, "x": list(x), "y": list(y), "marker": shown}


def error_bars(estimates: Sequence[Estimate], colour: str) -> dict[str, Any]:
    """Bars over the intervals of estimates."""
    above = [0.0 if high is None else round(abs(high - value), 4) for value, _, high in estimates]
    below = [0.0 if low is None else round(abs(low - value), 4) for value, low, _ in estimates]
    bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    return {**bars, "color": colour, "thickness": 1.6, "width": 4}


def forest(
    rows: Sequence[tuple[str, str, Record]], colours: Mapping[str, str], dataset: str, level: str, hollow: str = ""
) -> Figure:
    """AUROC of every (label, group, record) with its interval, the best on top, the paper's ProxyAno as a line.

    ``colours``: group → colour, in the order of the legend; the group ``hollow`` is drawn as diamonds.
    """
    rows = sorted(rows, key=lambda row: float(row[2]["value"]))
    traces = []
    for group, colour in colours.items():
        labels = [label for label, of, _ in rows if of == group]
        estimates = [(float(r["value"]), r["low"], r["high"]) for _, of, r in rows if of == group]
        if labels:
            symbol = "diamond" if group == hollow else "circle"
            trace = points(group, [round(value, 4) for value, *_ in estimates], labels, colour, symbol=symbol)
            trace |= {"error_x": error_bars(estimates, colour), "hovertemplate": "%{y}: %{x:.3f}<extra></extra>"}
            trace["cliponaxis"] = False  # a point at 1 shows whole
            traces.append(trace)
    lowest = min((float(r["value"] if r["low"] is None else r["low"]) for *_, r in rows), default=0.0)
    left = max(0.0, round(lowest - 0.03, 2))
    drawn = figure(
        traces,
        xaxis=axis(f"{level} AUROC", dtick=0.1 if left >= 0.4 else 0.2, range=[left, 1.0]),
        yaxis={"categoryorder": "array", "categoryarray": [label for label, *_ in rows]},
        plotHeight=40 + 26 * len(rows),
    )
    if LEVELS.get(dataset) == level:
        drawn["layout"] |= _paper_line(PAPER[dataset][0])
    return drawn


def _paper_line(value: float) -> dict[str, Any]:
    """A dashed vertical line with the paper's AUROC above it."""
    colour = COLOURS["paper"]
    line = {"type": "line", "x0": value, "x1": value, "yref": "paper", "y0": 0, "y1": 1}
    line["line"] = {"dash": "dash", "width": 1.5, "color": colour}
    text = {"x": value, "xanchor": "right", "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
    text |= {"text": f"ProxyAno in the paper {number(value)}", "font": {"size": 11, "color": colour}}
    return {"shapes": [line], "annotations": [text]}
