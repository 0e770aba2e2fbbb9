"""The report as Markdown: the same verdict and tables as the page, without pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.reports.evaluation.sections import Section
from pipeline.reports.kit.tables import Table, flat


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def table_lines(table: Table) -> list[str]:
    """A Markdown table under its title; the best value of a column in bold."""
    lines = [f"**{_escape(table.title)}**", "", "| " + " | ".join(_escape(c) for c in table.columns) + " |"]
    marks = ["--:" if table.numeric(i) else "---" for i in range(len(table.columns))]
    lines.append("| " + " | ".join(marks) + " |")
    for row in table.rows:
        texts = [f"**{_escape(cell.text)}**" if cell.strong else _escape(cell.text) for cell in row]
        lines.append("| " + " | ".join(texts) + " |")
    return [*lines, "", *([table.note, ""] if table.note else [])]


def to_markdown(first: str, summary: Table, sections: Sequence[Section], provenance: Mapping[str, Any]) -> str:
    """The whole report; ``first`` is its first paragraph."""
    lines = ["# ProxyAno evaluation report", "", first, "", *table_lines(summary)]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for note in section.notes:
            lines += [f"- {note}"]
        lines += [""] if section.notes else []
        for table in (*section.tables, *section.details):
            lines += table_lines(table)
        if section.model_card:
            lines += ["<details><summary>Model card</summary>", "", section.model_card.strip(), "", "</details>", ""]
    lines += ["## Provenance", "", *(f"- {name}: {value}" for name, value in flat(provenance)), ""]
    return "\n".join(lines)
