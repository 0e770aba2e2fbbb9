"""A report as page, Markdown and records: written into the store, then copied to where people bookmark it."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import plotly.offline
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from pipeline.evaluation.records import Record
from pipeline.evaluation.saved import Panel
from pipeline.reports.kit.figures import Figure
from pipeline.reports.kit.glossary import explained, glossary
from pipeline.reports.kit.pictures import panel_links
from pipeline.reports.kit.tables import Table
from pipeline.reports.kit.words import flat
from pipeline.store.versions import Store, Version, fingerprint

REPORTS = Path(__file__).parents[1]
TEMPLATES = REPORTS / "templates"
FILES = ("index.html", "report.md", "report.json")
CLAIMS = "claims.json"
WRITTEN = "written"  # name of the report's date in its provenance
RESEARCH_ONLY = "For research only. Not a medical device, not for clinical use."


def source_version(version: int) -> str:
    """Code version of a report: ``version`` and the hash of all modules and templates of ``pipeline.reports``.

    A report is made within seconds, so any edit there makes it out of date. ``version`` is to be raised when other code
    that it uses changes.
    """
    content = hashlib.sha256()
    for path in sorted(path for path in REPORTS.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        content.update(f"{path.relative_to(REPORTS).as_posix()} {path.stat().st_size}\n".encode())
        content.update(path.read_bytes())
    return f"{version}-{content.hexdigest()[:16]}"


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
    banner: str = ""  # a warning above everything
    parts: Sequence[Part]
    records: Sequence[Record]
    claims: Sequence[Mapping[str, Any]] = ()  # the paper's, judged
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
    build: Callable[[], Report]


def publish(draft: Draft, store: Store, folder: Path, provenance: Mapping[str, Any], *, code_version: str) -> Version:
    """Build the report unless it exists, and copy it to ``folder``; its data version is that of all it depends on."""
    key = fingerprint(*draft.depends, code_version)
    with store.building(draft.asset, key) as work:
        if (done := store.built(draft.asset, key)) is None:
            report = draft.build()
            write_report(report, work / "content", {**provenance, **draft.provenance})
            done = store.publish(draft.asset, work / "content", key, {"banner": report.banner})
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        part = folder / f".{name}.part"
        shutil.copyfile(done.path / name, part)
        os.replace(part, folder / name)
    return done


def write_report(report: Report, folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write ``FILES``, and ``CLAIMS`` if there are any; ``provenance`` may be nested: commit, versions and the like."""
    about = text_rows(provenance)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(_page(report, about), encoding="utf-8")
    (folder / "report.md").write_text(markdown(report, about), encoding="utf-8")
    for name, part in (("report.json", report.records), (CLAIMS, report.claims)):
        if part or name != CLAIMS:
            (folder / name).write_text(json.dumps(list(part), indent=1, allow_nan=False) + "\n")


def text_rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Nested values as (dotted name, text) rows."""
    return [(name, "–" if value is None else str(value)) for name, value in flat(values).items()]


def _page(report: Report, provenance: Sequence[tuple[str, str]]) -> str:
    """The page with its pictures, styles, scripts and plotly inside, so that it needs no network."""
    links = panel_links([panel for part in report.parts for panel in part.pictures])
    source = FileSystemLoader(TEMPLATES)
    environment = Environment(
        loader=source, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"as_json": _json, "prose": _prose, "explained": explained}
    return environment.get_template(report.template).render(
        report=report,
        research_only=_below_title(provenance),
        glossary=glossary(),
        pictures={part.id: list(islice(links, len(part.pictures))) for part in report.parts},
        provenance=provenance,
        css=_verbatim("page.css", *(name for name in report.assets if name.endswith(".css"))),
        script=_verbatim("page.js", *(name for name in report.assets if name.endswith(".js"))),
        plotly=Markup(plotly.offline.get_plotlyjs()),
        **report.more,
    )


def _below_title(provenance: Sequence[tuple[str, str]]) -> str:
    """What the report is not, and when it was written, where that is known."""
    date = dict(provenance).get(WRITTEN)
    return f"{RESEARCH_ONLY} Written on {date}." if date else RESEARCH_ONLY


def _verbatim(*names: str) -> Markup:
    return Markup("\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names))


def _json(value: Any) -> Markup:
    """JSON that is safe inside a script element."""
    return Markup(json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


def _prose(text: str) -> Markup:
    """Markdown as HTML with headings below the page's h3; raw HTML is shown as text."""
    converter = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = converter.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + 3)}"
    return Markup(converter.renderer.render(tokens, converter.options, {}))


def markdown(report: Report, provenance: Sequence[tuple[str, str]]) -> str:
    """The report without its pictures and plots."""
    warning = [f"> **{report.banner}**", ""] if report.banner else []
    lines = [f"# ProxyAno {report.title}", "", *warning, report.opening, "", _below_title(provenance), ""]
    lines += _table_lines(report.summary) if report.summary else []
    for part in report.parts:
        if not (part.notes or part.tables):
            continue
        lines += [f"## {part.title}", "", *(f"- {note}" for note in part.notes), *[""] * bool(part.notes)]
        for table in (*part.tables, *part.details):
            lines += _table_lines(table)
        if part.model_card:
            lines += ["<details><summary>Model card</summary>", "", part.model_card.strip(), "", "</details>", ""]
    return "\n".join([*lines, "## Provenance", "", *(f"- {name}: {value}" for name, value in provenance), ""])


def _table_lines(table: Table) -> list[str]:
    """A Markdown table below its title; the best value of a column in bold."""

    def line(texts: Iterable[str]) -> str:
        return f"| {' | '.join(texts)} |"

    def escape(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    marks = ["--:" if table.numeric(place) else "---" for place in range(len(table.columns))]
    rows = [line(f"**{escape(one.text)}**" if one.strong else escape(one.text) for one in row) for row in table.rows]
    lines = [f"**{escape(table.title)}**", "", line(map(escape, table.columns)), line(marks), *rows, ""]
    return [*lines, table.note, ""] if table.note else lines
