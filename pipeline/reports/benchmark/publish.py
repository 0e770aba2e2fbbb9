"""``benchmark_report``: page, Markdown and records of all runs that were made, and the names of those that were not."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluation.records import Record, kind
from pipeline.reports.benchmark import figures, tables
from pipeline.reports.benchmark.gallery import sheets
from pipeline.reports.benchmark.runs import OWN, DataSet, Run, gather
from pipeline.reports.benchmark.verdict import opening, sentences
from pipeline.reports.evaluation.markdown import table_lines
from pipeline.reports.evaluation.publish import show
from pipeline.reports.evaluation.sections import Plot
from pipeline.reports.kit.pictures import linked
from pipeline.reports.kit.rendering import render, replace_file
from pipeline.reports.kit.tables import Table, flat
from pipeline.store.versions import Store, Version, fingerprint

ASSET = "benchmark_report"
LANE_OWN = f"{OWN}_lane"
"""Method under which the records hold ProxyAno at the main lane's own budget."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What the page shows of one data set."""

    id: str
    title: str
    said: Sequence[str]
    tables: Sequence[Table]
    plots: Sequence[Plot]


def publish_benchmark(
    runs: Sequence[Run],
    lanes: Mapping[str, Version | None],
    store: Store,
    folder: Path,
    provenance: Mapping[str, Any],
    *,
    code_version: str,
) -> Version:
    """Build the report and copy it to ``folder``; its data version is that of the runs and lanes it shows.

    ``lanes``: data set → the main lane's evaluation, None where it was never made.
    """
    versions = {f"{run.dataset}/{run.name}": run.version.data_version if run.version else None for run in runs}
    own = {f"{name}/evaluation": held.data_version for name, held in lanes.items() if held is not None}
    key = fingerprint(versions, own, code_version)
    with store.building(ASSET, key) as work:
        if (done := store.built(ASSET, key)) is None:
            read = {name: version for name, version in versions.items() if version is not None} | own
            build_benchmark(gather(runs, lanes), work / "content", {**provenance, "versions": read})
            done = store.publish(ASSET, work / "content", key, {"runs": len(read) - len(own)})
    show(done, folder)
    return done


def build_benchmark(every: Sequence[DataSet], folder: Path, provenance: Mapping[str, Any]) -> list[Record]:
    """Write ``index.html``, ``report.md`` and ``report.json`` into ``folder`` and return the records."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [part_of(data, every) for data in every]
    records = records_of(every)
    pictures = {data.key: sheets(data) for data in every}
    replace_file(folder / "report.json", json.dumps(records, indent=1, allow_nan=False) + "\n")
    replace_file(folder / "report.md", to_markdown(opening(every), parts, provenance))
    replace_file(
        folder / "index.html",
        render(
            "benchmark.html.j2",
            opening=opening(every),
            parts=parts,
            pictures=linked(pictures),
            provenance=flat(provenance),
        ),
    )
    return records


def part_of(data: DataSet, every: Sequence[DataSet]) -> Part:
    """Sentences, tables and plots of one data set."""
    off = next((other for other in every if other.key == f"{data.key}_plain"), None)
    found = [
        tables.table_one(data),
        tables.table_two(data),
        None if off is None else tables.form_table(data, off),
        tables.training_table(data),
        tables.cost_table(data),
    ]
    plots = []
    if data.measured:
        unit = data.level.capitalize()
        drawn = {
            "forest": (f"{unit} AUROC with 95 % intervals", figures.forest(data)),
            "minutes": (f"{unit} AUROC against training minutes", figures.against_minutes(data)),
        }
        plots = [Plot(id=f"{data.key}-{id}", title=title, choices=[figure]) for id, (title, figure) in drawn.items()]
    return Part(
        id=data.key,
        title=data.title,
        said=sentences(data),
        tables=[table for table in found if table is not None],
        plots=plots,
    )


def records_of(every: Sequence[DataSet]) -> list[Record]:
    """Every record of every run, then the lanes' controls, shortcuts and own ProxyAno (``proxyano_lane``)."""
    records = [
        record for data in every for runs in data.measured.values() for one in runs for record in one.lane.records
    ]
    records = [record for record in records if kind(record["method"]) == "method"]
    for data in every:
        records += [{**record, "method": LANE_OWN} if record["method"] == OWN else record for record in data.beside]
    return records


def to_markdown(first: str, parts: Sequence[Part], provenance: Mapping[str, Any]) -> str:
    """The report without its pictures; ``first`` is its first paragraph."""
    lines = ["# ProxyAno benchmark report", "", first, ""]
    for part in parts:
        lines += [f"## {part.title}", ""]
        for table in part.tables:
            lines += table_lines(table)
    return "\n".join([*lines, "## Provenance", "", *(f"- {name}: {value}" for name, value in flat(provenance)), ""])
