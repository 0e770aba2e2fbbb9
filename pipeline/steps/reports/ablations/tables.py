"""Each table and figure of the paper as a table of ours beside it, and the claims in one."""

import math
from collections.abc import Sequence

from models.comparison import Difference
from pipeline.steps.reports.ablations.experiments import DataSet
from pipeline.steps.reports.ablations.paper import Entry, Printed
from pipeline.steps.reports.ablations.verdict import Judged
from pipeline.steps.reports.records import PRIMARY
from pipeline.steps.reports.tables import Cell, Table
from pipeline.steps.reports.verdict import number, with_interval

COLUMNS = (
    "experiment",
    "changes",
    "against",
    "score",
    "AUROC [95 %]",
    "paper AUC",
    "AUROC − neighbour's [95 %]",
    "p (Holm)",
    f"AUROC, {PRIMARY}",
    "training, minutes",
)
MISSING, NOT_RUN = Cell("–"), "not run"


def printed_table(printed: Printed, data: DataSet) -> Table:
    """A table or figure of the paper with our figures, intervals, and paired tests against each row's neighbour."""
    entries = [entry for entry in printed.entries if entry.name in data.rows]
    pairs = [(entry.name, against) for entry in entries if (against := data.rows[entry.name].against)]
    found = data.corrected(pairs)
    rows = [_row(entry, data, found.get((entry.name, data.rows[entry.name].against))) for entry in entries]
    own = "Difference and p: paired bootstrap of whole groups, p corrected for the rows of this table (Holm)."
    return Table(
        title=printed.title,
        columns=COLUMNS,
        rows=_strong(rows),
        kinds=["method"] * len(rows),
        note=f"{printed.note} {own}".strip(),
    )


def _row(entry: Entry, data: DataSet, difference: Difference | None) -> list[Cell]:
    row, measured = data.rows[entry.name], data.measured.get(entry.name)
    against = data.rows[row.against].run.label if row.against else ""
    head = [Cell(entry.label or row.run.label), Cell(row.change or "–"), Cell(against or "–")]
    paper = MISSING if entry.auc is None else Cell(number(entry.auc), entry.auc)
    if measured is None:
        return [*head, Cell(NOT_RUN), MISSING, paper, *[MISSING] * 4]
    own, standardised = data.record(entry.name), data.record(entry.name, PRIMARY)
    compared = [MISSING, MISSING]
    if difference is not None and math.isfinite(difference.value):
        text = f"{number(difference.value)} [{number(difference.low)}, {number(difference.high)}]"
        compared = [Cell(text, difference.value), Cell(number(difference.p), difference.p)]
    minutes = float(measured.lane.about("train_minutes"))
    auroc = MISSING if own is None else Cell(with_interval(own), float(own["value"]))
    beside = MISSING if standardised is None else Cell(number(standardised["value"]), float(standardised["value"]))
    return [*head, Cell(row.score), auroc, paper, *compared, beside, Cell(f"{minutes:.1f}", minutes)]


def _strong(rows: list[list[Cell]]) -> list[list[Cell]]:
    """The best AUROC, ours and the paper's, in bold."""
    for at in (COLUMNS.index("AUROC [95 %]"), COLUMNS.index("paper AUC")):
        values = [row[at].sort for row in rows if row[at].sort is not None]
        for row in rows:
            if values and row[at].sort == max(value for value in values if value is not None):
                row[at] = Cell(row[at].text, row[at].sort, strong=True)
    return rows


def claims_table(judged: Sequence[Judged]) -> Table | None:
    """Every claim with its verdict."""
    rows = [[Cell(one.claim.where), Cell(one.claim.text), Cell(one.word), Cell(one.why)] for one in judged]
    note = (
        "Confirmed: every comparison comes out so with p ≤ .05, corrected over all comparisons of the data set (Holm). "
        "Not confirmed: at least one comes out clearly the other way. Undecided: neither, at this budget and with "
        "these test images. One seed; what another seed would give is not in the intervals."
    )
    columns = ("paper", "claim", "verdict", "why")
    return Table(title="The paper's claims", columns=columns, rows=rows, note=note) if rows else None
