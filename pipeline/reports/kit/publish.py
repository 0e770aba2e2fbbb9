"""A report as page, Markdown and records: written into the store, then copied to where people bookmark it."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.evaluation.records import Record
from pipeline.evaluation.saved import Panel
from pipeline.reports.kit.figures import Figure
from pipeline.reports.kit.pictures import panel_links
from pipeline.reports.kit.rendering import render
from pipeline.reports.kit.tables import Cell, Table, flat
from pipeline.store.versions import Store, Version, fingerprint

FILES = ("index.html", "report.md", "report.json")


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One figure, or several of which the reader chooses one."""

    id: str
    title: str
    choices: Sequence[Figure]
    choose: str = ""  # what the choice is about


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a report shows of one data set."""

    id: str
    title: str
    said: Sequence[str] = ()  # sentences of one paragraph, on the page alone
    notes: Sequence[str] = ()  # a list of sentences
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    pictures: Sequence[Panel] = ()
    pictures_title: str = ""
    details: Sequence[Table] = ()  # folded away on the page
    model_card: str = ""  # Markdown
    facts: Sequence[tuple[str, str]] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    badges: Sequence[tuple[str, str]] = ()  # (style, words)


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report before it is written."""

    title: str  # "evaluation report"
    first: str  # the page's first link
    opening: str  # first paragraph
    parts: Sequence[Part]
    records: Sequence[Record]
    summary: Table | None = None
    template: str = "report.html.j2"
    assets: Sequence[str] = ()  # styles and scripts besides those of every page
    more: Mapping[str, Any] = field(default_factory=dict)  # other values of the template


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A report that can be built: what it reads, and how."""

    asset: str
    inputs: Sequence[Version]
    depends: Sequence[Any]  # decides the data version: versions of the inputs, and what else changes the content
    provenance: Mapping[str, Any]
    meta: Mapping[str, Any]
    build: Callable[[], Report]


def publish(draft: Draft, store: Store, folder: Path, provenance: Mapping[str, Any], *, code_version: str) -> Version:
    """Build the report unless it exists, and copy it to ``folder``; its data version is that of all it depends on."""
    key = fingerprint(*draft.depends, code_version)
    with store.building(draft.asset, key) as work:
        if (done := store.built(draft.asset, key)) is None:
            write_report(draft.build(), work / "content", {**provenance, **draft.provenance})
            done = store.publish(draft.asset, work / "content", key, draft.meta)
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        part = folder / f".{name}.part"
        shutil.copyfile(done.path / name, part)
        os.replace(part, folder / name)
    return done


def write_report(report: Report, folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write ``FILES`` into ``folder``; ``provenance`` names commit, versions and the like, nested mappings allowed."""
    about = flat(provenance)
    links = panel_links([panel for part in report.parts for panel in part.pictures])
    pictures = {part.id: list(islice(links, len(part.pictures))) for part in report.parts}
    page = render(report.template, *report.assets, report=report, pictures=pictures, provenance=about, **report.more)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(page, encoding="utf-8")
    (folder / "report.md").write_text(markdown(report, about), encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(list(report.records), indent=1, allow_nan=False) + "\n")


def markdown(report: Report, provenance: Sequence[tuple[str, str]]) -> str:
    """The report without its pictures and plots."""
    lines = [f"# ProxyAno {report.title}", "", report.opening, ""]
    lines += table_lines(report.summary) if report.summary else []
    for part in report.parts:
        if not (part.notes or part.tables):
            continue
        lines += [f"## {part.title}", "", *(f"- {note}" for note in part.notes), *[""] * bool(part.notes)]
        for table in (*part.tables, *part.details):
            lines += table_lines(table)
        if part.model_card:
            lines += ["<details><summary>Model card</summary>", "", part.model_card.strip(), "", "</details>", ""]
    return "\n".join([*lines, "## Provenance", "", *(f"- {name}: {value}" for name, value in provenance), ""])


def table_lines(table: Table) -> list[str]:
    """A Markdown table below its title; the best value of a column in bold."""

    def line(texts: Iterable[str]) -> str:
        return "| " + " | ".join(texts) + " |"

    def escape(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    def shown(cell: Cell) -> str:
        return f"**{escape(cell.text)}**" if cell.strong else escape(cell.text)

    lines = [
        f"**{escape(table.title)}**",
        "",
        line(escape(name) for name in table.columns),
        line("--:" if table.numeric(place) else "---" for place in range(len(table.columns))),
        *(line(map(shown, row)) for row in table.rows),
        "",
    ]
    return [*lines, table.note, ""] if table.note else lines
