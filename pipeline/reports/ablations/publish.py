"""``ablation_report``: page, Markdown and records of all experiments that were made, and which were not."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluation.records import Record, kind
from pipeline.evaluation.saved import Panel
from pipeline.reports.ablations import figures, gallery, studies, tables
from pipeline.reports.ablations.experiments import DataSet
from pipeline.reports.ablations.verdict import UNTESTED, judge, opening
from pipeline.reports.evaluation.markdown import table_lines
from pipeline.reports.evaluation.publish import show
from pipeline.reports.evaluation.sections import Plot
from pipeline.reports.kit.pictures import linked
from pipeline.reports.kit.rendering import render, replace_file
from pipeline.reports.kit.tables import Table, flat
from pipeline.reports.kit.verdict import listed
from pipeline.store.versions import Store, Version, fingerprint

ASSET = "ablation_report"
PROXIES = "proxies"


@dataclass(frozen=True, kw_only=True)
class Part:
    """What the page shows of one data set."""

    id: str
    title: str
    said: Sequence[str]
    tables: Sequence[Table]
    plots: Sequence[Plot]


def publish_ablations(
    every: Sequence[DataSet],
    sheets: Mapping[str, tuple[str, Panel]],
    store: Store,
    folder: Path,
    provenance: Mapping[str, Any],
    *,
    code_version: str,
) -> Version:
    """Build the report and copy it to ``folder``; its data version is that of the experiments and sheets it shows.

    ``sheets``: title of a data set → what its sheet of proxies was made of, and the sheet (the paper's Fig. 8).
    """
    runs = [run for data in every for row in data.rows.values() for run in row.runs]
    versions = {f"{run.dataset}/{run.name}": run.version.data_version if run.version else None for run in runs}
    changes = {f"{data.key}/{name}": row.change for data in every for name, row in data.rows.items()}
    key = fingerprint(versions, changes, {title: of for title, (of, _) in sheets.items()}, code_version)
    with store.building(ASSET, key) as work:
        if (done := store.built(ASSET, key)) is None:
            read = {name: version for name, version in versions.items() if version is not None}
            about = {**provenance, "versions": read}
            build_ablations(every, {title: sheet for title, (_, sheet) in sheets.items()}, work / "content", about)
            done = store.publish(ASSET, work / "content", key, {"experiments": len(read)})
    show(done, folder)
    return done


def build_ablations(
    every: Sequence[DataSet], sheets: Mapping[str, Panel], folder: Path, provenance: Mapping[str, Any]
) -> list[Record]:
    """Write ``index.html``, ``report.md`` and ``report.json`` into ``folder`` and return the records."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [part_of(data) for data in every]
    records = records_of(every)
    shown = linked({data.key: gallery.sheets(data) for data in every} | {PROXIES: list(sheets.values())})
    replace_file(folder / "report.json", json.dumps(records, indent=1, allow_nan=False) + "\n")
    replace_file(folder / "report.md", to_markdown(opening(every), parts, provenance))
    page = render(
        "ablations.html.j2",
        opening=opening(every),
        parts=parts,
        pictures=shown,
        sheets=shown[PROXIES],
        provenance=flat(provenance),
    )
    replace_file(folder / "index.html", page)
    return records


def part_of(data: DataSet) -> Part:
    """Verdicts, tables and plots of one data set."""
    judged = judge(data)
    lacking = [row.label for name, row in data.rows.items() if name not in data.measured]
    said = [one.sentence for one in judged if one.word != UNTESTED]
    if untested := sum(one.word == UNTESTED for one in judged):
        said.append(
            f"{untested} of the paper's {len(judged)} claims were not tested: experiments of theirs are missing."
        )
    if lacking:
        said.append(f"Not run: {listed(lacking)}.")
    said += studies.sentences(data)
    found = [tables.claims_table(judged), *(tables.printed_table(printed, data) for printed in data.printed)]
    found += studies.tables(data)
    plots = [
        Plot(id=f"{data.key}-{printed.key}", title=printed.title, choices=[figure])
        for printed in data.printed
        if (figure := figures.drawn(printed, data)) is not None
    ]
    return Part(
        id=data.key,
        title=data.title,
        said=said,
        tables=[table for table in found if table is not None],
        plots=plots,
    )


def records_of(every: Sequence[DataSet]) -> list[Record]:
    """Every record of every experiment, under its own name as the method."""
    return [
        {**record, "method": name}
        for data in every
        for name, measured in data.measured.items()
        for one in measured
        for record in one.lane.records
        if kind(record["method"]) == "method"
    ]


def to_markdown(first: str, parts: Sequence[Part], provenance: Mapping[str, Any]) -> str:
    """The report without its pictures; ``first`` is its first paragraph."""
    lines = ["# ProxyAno ablation report", "", first, ""]
    for part in parts:
        lines += [f"## {part.title}", "", *(f"- {sentence}" for sentence in part.said), ""]
        for table in part.tables:
            lines += table_lines(table)
    return "\n".join([*lines, "## Provenance", "", *(f"- {name}: {value}" for name, value in flat(provenance)), ""])
