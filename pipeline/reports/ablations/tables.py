"""Each of the paper's tables and figures with our results, and its claims in one table."""

from collections.abc import Sequence
from statistics import fmean, stdev

from pipeline.evaluation.score_name import PRIMARY
from pipeline.reports.ablations.experiments import Compared, DataSet
from pipeline.reports.ablations.paper import Entry, Printed
from pipeline.reports.ablations.verdict import Judged
from pipeline.reports.kit.tables import MISSING, NOT_RUN, Cell, Row, Table, cell, compared_cells, mark_best, table
from pipeline.reports.kit.words import interval, number

AUROC, PAPER, P, MINUTES = "AUROC [95 %]", "paper AUC", "p (Holm)", "training, minutes"
DIFFERENCE = "AUROC − neighbour's [95 %]"
NOTE = (
    "AUROC: mean over the seeds; the next column has their number and sd. Difference: over the seeds that both rows "
    "have. Interval and p: paired bootstrap of whole groups, p corrected for the rows of this table (Holm)."
)
CLAIMS_NOTE = (
    "Confirmed: every comparison agrees with p ≤ .05, corrected over all comparisons of the data set (Holm). "
    "Not confirmed: at least one clearly disagrees. Undecided: neither, at this budget and with these test images. "
    "With several seeds all of them must agree; with one seed the interval does not cover what another would give."
)


def printed_table(printed: Printed, data: DataSet) -> Table:
    """A table or figure of the paper with our results and paired tests against each row's neighbour."""
    entries = [entry for entry in printed.entries if entry.name in data.rows]
    pairs = {entry.name: (entry.name, data.rows[entry.name].against) for entry in entries}
    found = data.corrected(pair for pair in pairs.values() if pair[1])
    rows = [_row(entry, data, found.get(pairs[entry.name])) for entry in entries]
    mark_best(rows, (AUROC, PAPER))
    return table(printed.title, rows, kinds=["method"] * len(rows), note=f"{printed.note} {NOTE}".strip())


def _row(entry: Entry, data: DataSet, compared: Compared | None) -> Row:
    row = data.rows[entry.name]
    measured = entry.name in data.measured
    difference, p = compared_cells(compared)
    standardised = data.auroc(entry.name, PRIMARY)
    return {
        "experiment": Cell(entry.label or row.label),
        "changes": Cell(row.change or "–"),
        "against": Cell(data.rows[row.against].label if row.against else "–"),
        "score": Cell(row.score if measured else NOT_RUN),
        **auroc_cells(data, entry.name, AUROC),
        PAPER: cell(entry.auc),
        DIFFERENCE: difference,
        P: p,
        f"AUROC, {PRIMARY}": cell(standardised.value) if standardised else MISSING,
        MINUTES: minutes_cell(data, entry.name),
    }


def auroc_cells(data: DataSet, name: str, column: str) -> Row:
    """AUROC with its interval, and the number of seeds with their sd."""
    found = data.auroc(name)
    if found is None:
        return {column: MISSING, "seeds": MISSING}
    count = len(found.by_seed)
    spread = f", sd {number(stdev(found.by_seed))}" if count > 1 else ""
    text = interval(found.value, found.low, found.high)
    return {column: cell(found.value, text), "seeds": cell(count, f"{count}{spread}")}


def minutes_cell(data: DataSet, name: str) -> Cell:
    """Mean training minutes of the runs that exist."""
    runs = data.measured.get(name)
    if not runs:
        return MISSING
    minutes = fmean(float(run.lane.about("train_minutes")) for run in runs)
    return cell(minutes, f"{minutes:.1f}")


def claims_table(judged: Sequence[Judged]) -> Table | None:
    """Every claim with its verdict."""
    rows = [
        {"paper": Cell(one.claim.where), "claim": Cell(one.claim.text), "verdict": Cell(one.word), "why": Cell(one.why)}
        for one in judged
    ]
    return table("The paper's claims", rows, note=CLAIMS_NOTE) if rows else None
