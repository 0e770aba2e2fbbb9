"""Figures in the documents are those of ``docs/results/results.json``.

A comment after a figure names its record: ``.989<!-- figure dataset=oct score=latent … -->``. In a table, comments in
the first row, its first cell and the first cell of a row count for all figures there; the nearest one decides.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from pipeline.reports.results import KEYS, read_results
from pipeline.reports.results_tables import tables

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = DOCS / "results" / "results.json"
PAGES = {DOCS.parent / "README.md": 6, DOCS / "model_card.md": 3, DOCS / "results" / "README.md": 95}
"""Page → the fewest figures it shows."""
USUAL = {"subset": "all", "part": "lanes", "pretrained": "false"}  # fields that no comment has to name
NUMBER = r"[−-]?\d*\.?\d+"
FIGURE = re.compile(rf"({NUMBER})(?: \[({NUMBER}), ({NUMBER})\])?")
TAG = re.compile(r"<!-- figure (.*?) -->")
INLINE = re.compile(FIGURE.pattern + TAG.pattern)
BARE = re.compile(r"(?<![\w.])\.\d{2,3}(?!\d|<!-- figure )")
Key = dict[str, str]


def key(text: str) -> Key:
    words = [word for tag in TAG.findall(text) for word in shlex.split(tag)]
    return dict(word.split("=") for word in words)


def figures(page: str) -> Iterator[tuple[tuple[str, ...], Key]]:
    """Printed value and ends of its interval, and the key of its record."""
    top: list[Key] = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line[1:-1].split(" | ")] if line.startswith("|") else []
        own = [key(cell) for cell in cells]
        if not cells or not (top or own[0]):
            yield from ((found.groups()[:3], key(found[0])) for found in INLINE.finditer(line))
        elif top:
            for cell, column, tag in zip(cells[1:], top[1:], own[1:], strict=False):
                if (found := FIGURE.match(cell)) and own[0]:
                    yield found.groups(), top[0] | column | own[0] | tag
        top = (top or own) if cells and (top or own[0]) else []


def agrees(printed: str | None, value: float | None) -> bool:
    """Whether a printed figure is the value at its number of decimals."""
    if printed is None or value is None:
        return printed is None
    decimals = len(printed.partition(".")[2])
    return abs(float(printed.replace("−", "-")) - value) <= 0.501 * 10**-decimals


def wrong(page: str, records: dict[tuple[str, ...], Key]) -> list[str]:
    """Figures that differ from their record, or have none."""
    found = []
    for printed, named in figures(page):
        record = records.get(tuple((USUAL | named).get(name, "") for name in (*KEYS, "pretrained")))
        values = [None if record is None else record[name] for name in ("value", "low", "high")]
        if record is None or not all(map(agrees, printed, values)):
            found.append(f"{printed}: {named} is {values}")
    return found


@pytest.fixture(scope="module")
def records():
    return {(*(str(one[name]) for name in KEYS), str(one["pretrained"]).lower()): one for one in read_results(RESULTS)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name + "/" + page.name)
def test_figures_are_those_of_the_results(page, records):
    text = page.read_text()
    assert len(list(figures(text))) >= PAGES[page]
    assert not wrong(text, records)
    assert page.parent.name == "results" or not BARE.search(text), "a figure without a comment that names its record"


def test_a_changed_figure_interval_or_record_is_found(records):
    text = (DOCS / "results" / "README.md").read_text()
    assert wrong(text.replace(".989 [.983, .994]", ".988 [.983, .994]", 1), records)
    assert wrong(text.replace(".989 [.983, .994]", ".989 [.982, .994]", 1), records)
    assert wrong(text.replace("score=latent", "score=latant", 1), records)


def test_the_tables_are_those_of_the_results():
    content = json.loads(RESULTS.read_text())
    made = tables(pd.DataFrame(read_results(RESULTS)), content["commit"], content.get("claims", []))
    assert (RESULTS.parent / "tables.md").read_text() == made
