"""Tables: built once from rows of named cells, then shown on the page and in Markdown."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.metrics import Difference
from pipeline.evaluation.records import Record
from pipeline.reports.kit.words import interval, number, p_value, with_interval

NOT_RUN = "not run"


@dataclass(frozen=True)
class Cell:
    """Text, the number it sorts by, and whether it is the best of its column."""

    text: str
    sort: float | None = None
    strong: bool = False


MISSING = Cell("–")
Row = dict[str, Cell]  # column → cell


@dataclass(frozen=True, kw_only=True)
class Table:
    """A titled table; ``kinds`` (method, control, shortcut, paper, …) colours its rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    kinds: Sequence[str] = ()
    note: str = ""

    @classmethod
    def of(cls, title: str, rows: Sequence[Row], *, kinds: Sequence[str] = (), note: str = "") -> "Table":
        """A table with every column of its rows, in order of appearance; a dash where a row lacks one."""
        columns = list(dict.fromkeys(name for row in rows for name in row))
        cells = [[row.get(name, MISSING) for name in columns] for row in rows]
        return cls(title=title, columns=columns, rows=cells, kinds=kinds, note=note)

    def numeric(self, column: int) -> bool:
        """Whether the column holds numbers, which are aligned to the right."""
        return any(row[column].sort is not None for row in self.rows)


def cell(value: float | None, text: str | None = None) -> Cell:
    """A number, written with three decimals unless ``text`` is given; a dash for None."""
    return MISSING if value is None else Cell(number(value) if text is None else text, float(value))


def record_cell(record: Record | None, *, intervals: bool = False) -> Cell:
    """The value of a record, with its interval if wanted."""
    return cell(None if record is None else record["value"], with_interval(record) if intervals else None)


def compared_cells(found: Difference | None) -> tuple[Cell, Cell]:
    """A difference with its interval, and its p; dashes where it is None or undefined."""
    if found is None or not math.isfinite(found.value):
        return MISSING, MISSING
    return cell(found.value, interval(found.value, found.low, found.high)), cell(found.p, p_value(found.p))


def mark_best(rows: Sequence[Row], columns: Iterable[str]) -> None:
    """Mark the highest number of each of the columns as strong, in place."""
    for name in columns:
        numbers = [row[name].sort for row in rows if name in row]
        top = max((value for value in numbers if value is not None), default=None)
        for row in rows:
            if top is not None and name in row and row[name].sort == top:
                row[name] = replace(row[name], strong=True)


def pairs(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], note: str = "") -> Table:
    """A plain table; numbers are written as they are."""
    cells = [[Cell(str(one), float(one) if isinstance(one, int | float) else None) for one in row] for row in rows]
    return Table(title=title, columns=columns, rows=cells, note=note)
