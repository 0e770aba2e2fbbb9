"""``benchmark_report``: every method that has been run, compared with ProxyAno, the controls and the paper."""

from collections.abc import Mapping, Sequence
from statistics import mean

from pipeline.evaluation.records import find
from pipeline.evaluation.score_name import PRIMARY, kind_of
from pipeline.reports.benchmark import tables
from pipeline.reports.benchmark.claim import better_than_eight
from pipeline.reports.benchmark.runs import OWN, DataSet, gather, opening, sentences
from pipeline.reports.kit import figures
from pipeline.reports.kit.figures import COLOURS, Figure, axis, figure, points
from pipeline.reports.kit.pictures import HEAT, sheets
from pipeline.reports.kit.publish import Draft, Part, Plot, Report
from pipeline.reports.kit.runs import Run, on_sample, versions_of
from pipeline.reports.kit.words import banner, record_title
from pipeline.store.versions import Version

ASSET = "benchmark_report"
LANE_OWN = f"{OWN}_lane"  # method of ProxyAno's records at the main lane's own budget
PICTURES = f"The same test images through all methods, chosen by order, not by score: above the reconstruction, {HEAT}"
GROUPS = {"ProxyAno": "#8f6bd9", "methods": COLOURS["method"], "controls": COLOURS["control"]}


def draft(runs: Sequence[Run], lanes: Mapping[str, Version | None]) -> Draft:
    """The report over all runs; ``lanes``: data set → the main lane's evaluation, None where there is none."""
    versions = versions_of(runs)
    own = {f"{name}/evaluation": version.data_version for name, version in lanes.items() if version is not None}
    read = {name: version for name, version in versions.items() if version is not None}
    return Draft(
        asset=ASSET,
        inputs=[version for version in (*(run.version for run in runs), *lanes.values()) if version is not None],
        depends=(versions, own),
        provenance={"versions": read | own},
        build=lambda: benchmark_report(gather(runs, lanes)),
    )


def benchmark_report(every: Sequence[DataSet]) -> Report:
    """The report; its records are those of every run, then of the lanes' controls, shortcuts and ``LANE_OWN``."""
    runs = [run for data in every for runs in data.measured.values() for run in runs]
    records = [record for run in runs for record in run.lane.records if kind_of(record["method"]) == "method"]
    beside = [record for data in every for record in data.beside]
    records += [{**record, "method": LANE_OWN} if record["method"] == OWN else record for record in beside]
    return Report(
        title="benchmark report",
        first="Benchmark",
        opening=opening(every),
        banner=banner([data.title for data in every if on_sample(data.measured)]),
        parts=[_part(data, every) for data in every],
        records=records,
        claims=[better_than_eight(data) for data in every],
    )


def _part(data: DataSet, every: Sequence[DataSet]) -> Part:
    off = next((other for other in every if other.key == f"{data.key}_plain"), None)
    found = (
        tables.table_one(data),
        tables.table_two(data),
        tables.form_table(data, off) if off else None,
        tables.training_table(data),
        tables.cost_table(data),
    )
    folders = {runs[0].label: runs[0].folder for runs in data.measured.values()}
    text = f"{data.level.capitalize()} AUROC"
    shown = [
        Plot(id=f"{data.key}-forest", title=f"{text} with 95 % intervals", choices=[_forest(data)]),
        Plot(id=f"{data.key}-minutes", title=f"{text} against training minutes", choices=[_against_minutes(data)]),
    ]
    return Part(
        id=data.key,
        title=data.title,
        said=sentences(data),
        tables=[table for table in found if table is not None],
        plots=shown if data.measured else [],
        pictures=sheets(folders, ("reconstruction", "map"), file=data.key, title=data.title, text=PICTURES),
        pictures_title="The same images through all methods",
    )


def _forest(data: DataSet) -> Figure:
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
    return figures.forest(rows, GROUPS, data.paper, data.level)


def _against_minutes(data: DataSet) -> Figure:
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
