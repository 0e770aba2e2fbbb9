"""The benchmark's figures: AUROC with intervals, and AUROC against training minutes."""

from collections.abc import Sequence
from statistics import mean

from pipeline.evaluation.records import find
from pipeline.evaluation.score_name import PRIMARY, kind_of
from pipeline.reports.benchmark.runs import OWN, DataSet
from pipeline.reports.kit import figures
from pipeline.reports.kit.figures import COLOURS, Figure, axis, figure, points
from pipeline.reports.kit.publish import Plot
from pipeline.reports.kit.words import record_title

GROUPS = {"ProxyAno": "#8f6bd9", "methods": COLOURS["method"], "controls": COLOURS["control"]}
"""Group of scores → colour."""


def plots(data: DataSet) -> Sequence[Plot]:
    """Both figures; none where nothing was run."""
    drawn = {
        "forest": (f"{data.level} AUROC with 95 % intervals", forest),
        "minutes": (f"{data.level} AUROC against training minutes", against_minutes),
    }
    return [
        Plot(id=f"{data.key}-{name}", title=title[0].upper() + title[1:], choices=[draw(data)])
        for name, (title, draw) in drawn.items()
        if data.measured
    ]


def forest(data: DataSet) -> Figure:
    """AUROC of every method and control with its 95 % interval."""
    rows = []
    for method, runs in data.measured.items():
        if (record := runs[0].record(data.level, "auroc")) is not None:
            rows.append((runs[0].label, "ProxyAno" if method == OWN else "methods", record))
    for record in find(data.beside, level=data.level, metric="auroc", subset="all"):
        if kind_of(record["method"]) == "control":
            rows.append((record_title(record), "controls", record))
        elif (record["method"], record["score"]) == (OWN, PRIMARY):
            rows.append(("ProxyAno, at the lane's own budget", "ProxyAno", record))
    return figures.forest(rows, GROUPS, data.key, data.level)


def against_minutes(data: DataSet) -> Figure:
    """AUROC of every method's first run against the mean minutes its training took."""
    found = [
        (mean(float(run.lane.about("train_minutes")) for run in runs), value, runs[0])
        for runs in data.measured.values()
        if (value := runs[0].value(data.level, "auroc")) is not None
    ]
    minutes, values = [round(point[0], 3) for point in found], [round(point[1], 4) for point in found]
    colours = [GROUPS["ProxyAno" if run.method == OWN else "methods"] for *_, run in found]
    trace = points("methods", minutes, values, COLOURS["method"], color=colours) | {
        "mode": "markers+text",
        "showlegend": False,
        "text": [run.label for *_, run in found],
        "textposition": "top center",
        "hovertemplate": "%{text}: %{y:.3f} after %{x:.1f} min<extra></extra>",
    }
    return figure([trace], xaxis=axis("minutes of training", type="log"), yaxis=axis(f"{data.level} AUROC"))
