"""Each table and figure of the paper as a table of ours beside it, and the claims in one."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from pipeline.evaluation.records import PRIMARY
from pipeline.reports.ablations.experiments import Compared, DataSet
from pipeline.reports.ablations.paper import Entry, Printed
from pipeline.reports.ablations.verdict import Judged, p_value
from pipeline.reports.kit.tables import Cell, Table
from pipeline.reports.kit.verdict import number

COLUMNS = (
    "experiment",
    "changes",
    "against",
    "score",
    "AUROC [95 %]",
    "seeds",
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
    own = (
        "AUROC: mean over the seeds, whose number and sd stand beside it. Difference: of the seeds that both rows "
        "have. Interval and p: paired bootstrap of whole groups, p corrected for the rows of this table (Holm)."
    )
    return Table(
        title=printed.title,
        columns=COLUMNS,
        rows=_strong(rows),
        kinds=["method"] * len(rows),
        note=f"{printed.note} {own}".strip(),
    )


def _row(entry: Entry, data: DataSet, difference: Compared | None) -> list[Cell]:
    row, measured = data.rows[entry.name], data.measured.get(entry.name)
    against = data.rows[row.against].label if row.against else ""
    head = [Cell(entry.label or row.label), Cell(row.change or "–"), Cell(against or "–")]
    paper = MISSING if entry.auc is None else Cell(number(entry.auc), entry.auc)
    if measured is None:
        return [*head, Cell(NOT_RUN), MISSING, MISSING, paper, *[MISSING] * 4]
    compared = [MISSING, MISSING]
    if difference is not None and math.isfinite(difference.value):
        text = f"{number(difference.value)} [{number(difference.low)}, {number(difference.high)}]"
        compared = [Cell(text, difference.value), Cell(p_value(difference.p).removeprefix("p "), difference.p)]
    standardised = data.auroc(entry.name, PRIMARY)
    beside = MISSING if standardised is None else Cell(number(standardised.value), standardised.value)
    minutes = fmean(float(one.lane.about("train_minutes")) for one in measured)
    found = [*measured_cells(data, entry.name), paper, *compared, beside, Cell(f"{minutes:.1f}", minutes)]
    return [*head, Cell(row.score), *found]


def measured_cells(data: DataSet, name: str) -> list[Cell]:
    """AUROC with its interval; number of seeds and their sd."""
    found = data.auroc(name)
    if found is None:
        return [MISSING, MISSING]
    count = len(found.by_seed)
    spread = f", sd {number(stdev(found.by_seed))}" if count > 1 else ""
    text = f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"
    return [Cell(text, found.value), Cell(f"{count}{spread}", count)]


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
        "these test images. Where a comparison has several seeds, all of them must say the same; where it has one, "
        "what another seed would give is not in the interval."
    )
    columns = ("paper", "claim", "verdict", "why")
    return Table(title="The paper's claims", columns=columns, rows=rows, note=note) if rows else None
