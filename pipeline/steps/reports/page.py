"""Write the report: one self-contained page, the same as Markdown, and the records as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.steps.reports import tables
from pipeline.steps.reports.lanes import LaneEvaluation, Panel
from pipeline.steps.reports.markdown import to_markdown
from pipeline.steps.reports.pictures import data_links
from pipeline.steps.reports.records import Record
from pipeline.steps.reports.rendering import render, replace_file
from pipeline.steps.reports.sections import Section, section
from pipeline.steps.reports.verdict import lead


def _pictures(lanes: Sequence[LaneEvaluation]) -> dict[str, list[tuple[Panel, str]]]:
    """Panels with their data links, by data set, under one budget."""
    panels = [(lane.dataset, panel) for lane in lanes for panel in lane.panels]
    shown: dict[str, list[tuple[Panel, str]]] = {lane.dataset: [] for lane in lanes}
    for (dataset, panel), link in zip(panels, data_links([panel for _, panel in panels]), strict=True):
        shown[dataset].append((panel, link))
    return shown


def _html(
    opening: str, sections: Sequence[Section], lanes: Sequence[LaneEvaluation], provenance: Mapping[str, Any]
) -> str:
    return render(
        "page.html.j2",
        opening=opening,
        summary=tables.summary([part.verdict for part in sections]),
        sections=sections,
        pictures=_pictures(lanes),
        provenance=tables.flat(provenance),
    )


def build_report(lanes: Sequence[LaneEvaluation], folder: Path, provenance: Mapping[str, Any]) -> list[Record]:
    """Write ``index.html``, ``report.md`` and ``report.json`` into ``folder`` and return all records.

    ``provenance`` names what made the report (git commit, code version, command, …), nested mappings allowed.
    Raises ValueError without a lane or with two lanes of one data set.
    """
    names = [lane.dataset for lane in lanes]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a report needs at least one lane, each data set once; got {names}")
    folder.mkdir(parents=True, exist_ok=True)
    sections = [section(lane) for lane in lanes]
    verdicts = [part.verdict for part in sections]
    opening = lead(verdicts)
    first = " ".join([opening, *(sentence for part in sections for sentence in part.headline)])
    records = [record for lane in lanes for record in lane.records]
    replace_file(folder / "report.json", json.dumps(records, indent=1, allow_nan=False) + "\n")
    replace_file(folder / "report.md", to_markdown(first, tables.summary(verdicts), sections, provenance))
    replace_file(folder / "index.html", _html(opening, sections, lanes, provenance))
    return records
