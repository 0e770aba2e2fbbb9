"""Write the report: one self-contained page, the same as Markdown, and the records as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.detectors.scorers import HEAT_RANGE
from pipeline.evaluation.records import Record
from pipeline.evaluation.saved import LaneEvaluation, Panel
from pipeline.reports.evaluation.atlas import atlases
from pipeline.reports.evaluation.explorer import explorer
from pipeline.reports.evaluation.gallery import KINDS, galleries
from pipeline.reports.evaluation.markdown import to_markdown
from pipeline.reports.evaluation.sections import Section, section
from pipeline.reports.kit import tables
from pipeline.reports.kit.pictures import BUDGET, data_links
from pipeline.reports.kit.rendering import render, replace_file
from pipeline.reports.kit.verdict import lead

SCRIPTS = ("explorer.css", "gallery.css", "hover.js", "explorer.js", "images.js", "gallery.js")


def _strips(lanes: Sequence[LaneEvaluation]) -> dict[str, list[tuple[Panel, str]]]:
    """Pictures of cases with their data links, by data set, for evaluations that kept no layers."""
    without = [lane for lane in lanes if lane.pictures.empty]
    panels = [(lane.dataset, panel) for lane in without for panel in lane.panels]
    shown: dict[str, list[tuple[Panel, str]]] = {lane.dataset: [] for lane in lanes}
    budget = BUDGET * len(without) // len(lanes)
    for (dataset, panel), link in zip(panels, data_links([panel for _, panel in panels], budget), strict=True):
        shown[dataset].append((panel, link))
    return shown


def _html(
    opening: str, sections: Sequence[Section], lanes: Sequence[LaneEvaluation], provenance: Mapping[str, Any]
) -> str:
    small, shown = atlases(lanes), galleries(lanes)
    return render(
        "page.html.j2",
        *SCRIPTS,
        opening=opening,
        summary=tables.summary([part.verdict for part in sections]),
        sections=sections,
        strips=_strips(lanes),
        atlases=small,
        galleries=shown,
        kinds=KINDS,
        heat_range=HEAT_RANGE,
        explorers={lane.dataset: explorer(lane, small.get(lane.dataset), shown[lane.dataset]) for lane in lanes},
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
