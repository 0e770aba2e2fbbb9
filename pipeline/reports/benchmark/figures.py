"""Figures of the benchmark as plain plotly JSON: AUROC with intervals, and AUROC against training minutes."""

from statistics import mean
from typing import Any

from pipeline.evaluation.records import PRIMARY, Record, find, kind
from pipeline.reports.benchmark.runs import OWN, DataSet
from pipeline.reports.kit.figures import COLOURS, Figure
from pipeline.reports.kit.verdict import PAPER, full_name, number

ACCENT = "#8f6bd9"


def forest(data: DataSet) -> Figure:
    """AUROC of every method and control with its 95 % interval, the best on top, the paper's ProxyAno as a line."""
    rows: list[tuple[str, str, Record]] = []
    for method, runs in data.measured.items():
        record = runs[0].record(data.level, "auroc")
        if record is not None:
            rows.append((runs[0].run.label, "ProxyAno" if method == OWN else "methods", record))
    for record in find(list(data.beside), level=data.level, metric="auroc", subset="all"):
        if kind(record["method"]) == "control":
            rows.append((full_name(record), "controls", record))
        elif (record["method"], record["score"]) == (OWN, PRIMARY):
            rows.append(("ProxyAno, at the lane's own budget", "ProxyAno", record))
    rows.sort(key=lambda row: float(row[2]["value"]))
    colours = {"ProxyAno": ACCENT, "methods": COLOURS["method"], "controls": COLOURS["control"]}
    drawn = [_dots(name, colour, [row for row in rows if row[1] == name]) for name, colour in colours.items()]
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": f"{data.level} AUROC"}, "nticks": 6},
        "yaxis": {"categoryorder": "array", "categoryarray": [row[0] for row in rows]},
        "plotHeight": 40 + 24 * len(rows),
    }
    if data.key in PAPER:
        paper = PAPER[data.key].auroc
        line = {"dash": "dash", "width": 1.5, "color": COLOURS["paper"]}
        layout["shapes"] = [{"type": "line", "x0": paper, "x1": paper, "yref": "paper", "y0": 0, "y1": 1, "line": line}]
        text = {"text": f"ProxyAno in the paper {number(paper)}", "font": {"size": 11, "color": COLOURS["paper"]}}
        place = {"x": paper, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
        layout["annotations"] = [{**place, **text}]
    return {"title": "", "data": [trace for trace in drawn if trace["x"]], "layout": layout}


def _dots(name: str, colour: str, rows: list[tuple[str, str, Record]]) -> dict[str, Any]:
    def bar(record: Record, end: str) -> float:
        return 0.0 if record[end] is None else round(abs(float(record[end]) - float(record["value"])), 4)

    records = [record for *_, record in rows]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [round(float(record["value"]), 4) for record in records],
        "y": [row[0] for row in rows],
        "marker": {"color": colour, "size": 9},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [bar(record, "high") for record in records],
            "arrayminus": [bar(record, "low") for record in records],
            "color": colour,
            "thickness": 1.6,
            "width": 4,
        },
        "hovertemplate": "%{y}: %{x:.3f}<extra></extra>",
    }


def against_minutes(data: DataSet) -> Figure:
    """AUROC of every run against the minutes its training took."""
    points = [
        (runs[0].run.label, mean(float(one.lane.about("train_minutes")) for one in runs), value, method == OWN)
        for method, runs in data.measured.items()
        if (value := runs[0].value(data.level, "auroc")) is not None
    ]
    trace = {
        "type": "scatter",
        "mode": "markers+text",
        "name": "methods",
        "showlegend": False,
        "x": [round(point[1], 3) for point in points],
        "y": [round(point[2], 4) for point in points],
        "text": [point[0] for point in points],
        "textposition": "top center",
        "marker": {"size": 9, "color": [ACCENT if point[3] else COLOURS["method"] for point in points]},
        "hovertemplate": "%{text}: %{y:.3f} after %{x:.1f} min<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": "minutes of training"}, "type": "log"},
        "yaxis": {"title": {"text": f"{data.level} AUROC"}},
    }
    return {"title": "", "data": [trace], "layout": layout}
