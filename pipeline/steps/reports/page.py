"""Write the report: one self-contained page, the same as Markdown, and the records as JSON."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.offline
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from pipeline.steps.reports import tables
from pipeline.steps.reports.lanes import LaneEvaluation, Panel
from pipeline.steps.reports.markdown import to_markdown
from pipeline.steps.reports.pictures import data_links
from pipeline.steps.reports.records import Record
from pipeline.steps.reports.sections import Section, section
from pipeline.steps.reports.verdict import lead

HERE = Path(__file__).parent


def _json(value: Any) -> Markup:
    """JSON safe inside a script element."""
    return Markup(json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


def _prose(text: str) -> Markup:
    """Markdown as HTML; raw HTML in it is shown as text."""
    return Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def _verbatim(name: str) -> Markup:
    return Markup((HERE / name).read_text(encoding="utf-8"))


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
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"as_json": _json, "prose": _prose}
    return environment.get_template("page.html.j2").render(
        opening=opening,
        summary=tables.summary([part.verdict for part in sections]),
        sections=sections,
        pictures=_pictures(lanes),
        provenance=tables.flat(provenance),
        css=_verbatim("page.css"),
        script=_verbatim("page.js"),
        plotly=Markup(plotly.offline.get_plotlyjs()),
    )


def _replace(path: Path, text: str) -> None:
    """Write beside the final place, then rename."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


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
    _replace(folder / "report.json", json.dumps(records, indent=1, allow_nan=False) + "\n")
    _replace(folder / "report.md", to_markdown(first, tables.summary(verdicts), sections, provenance))
    _replace(folder / "index.html", _html(opening, sections, lanes, provenance))
    return records
