"""``benchmark_report``: every method that has been run, compared with ProxyAno, the controls and the paper."""

from collections.abc import Mapping, Sequence

from pipeline.evaluation.records import Record
from pipeline.evaluation.score_name import kind_of
from pipeline.reports.benchmark import figures, tables
from pipeline.reports.benchmark.runs import OWN, DataSet, gather
from pipeline.reports.benchmark.verdict import opening, sentences
from pipeline.reports.kit.publish import Draft, Part, Report
from pipeline.reports.kit.runs import Run, versions_of
from pipeline.reports.kit.sheets import HEAT, sheets
from pipeline.store.versions import Version

ASSET = "benchmark_report"
LANE_OWN = f"{OWN}_lane"
"""Method of ProxyAno's records at the main lane's own budget."""
PICTURES = f"The same test images through all methods, chosen by order, not by score: above the reconstruction, {HEAT}"


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
        meta={"runs": len(read)},
        build=lambda: benchmark_report(gather(runs, lanes)),
    )


def benchmark_report(every: Sequence[DataSet]) -> Report:
    """The report's content."""
    return Report(
        title="benchmark report",
        first="Benchmark",
        opening=opening(every),
        parts=[_part(data, every) for data in every],
        records=_records(every),
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
    return Part(
        id=data.key,
        title=data.title,
        said=sentences(data),
        tables=[table for table in found if table is not None],
        plots=figures.plots(data),
        pictures=sheets(folders, ("reconstruction", "map"), file=data.key, title=data.title, text=PICTURES),
        pictures_title="The same images through all methods",
    )


def _records(every: Sequence[DataSet]) -> list[Record]:
    """Every record of every run, then the lanes' controls, shortcuts and ProxyAno (as ``LANE_OWN``)."""
    runs = [run for data in every for runs in data.measured.values() for run in runs]
    records = [record for run in runs for record in run.lane.records if kind_of(record["method"]) == "method"]
    beside = [record for data in every for record in data.beside]
    return records + [{**record, "method": LANE_OWN} if record["method"] == OWN else record for record in beside]
