"""Tables of the ablations: the paper's with our results, and its claims."""

from collections.abc import Sequence
from statistics import fmean

from pipeline.evaluation.score_name import PRIMARY
from pipeline.reports.ablations.experiments import Compared, DataSet, Judged
from pipeline.reports.kit.paper import Entry, Printed
from pipeline.reports.kit.tables import MISSING, NOT_RUN, Cell, Row, Table, cell, compared_cells, mark_best
from pipeline.reports.kit.words import interval, number

AUROC, PAPER = "AUROC [95 %]", "paper AUC"
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
    rows = [_printed_row(entry, data, found.get(pairs[entry.name])) for entry in entries]
    mark_best(rows, (AUROC, PAPER))
    return Table.of(printed.title, rows, kinds=["method"] * len(rows), note=f"{printed.note} {NOTE}".strip())


def _printed_row(entry: Entry, data: DataSet, compared: Compared | None) -> Row:
    row, found, standardised = data.rows[entry.name], data.auroc(entry.name), data.auroc(entry.name, PRIMARY)
    measured = [float(run.lane.about("train_minutes")) for run in data.measured.get(entry.name, ())]
    difference, p = compared_cells(compared)
    auroc = seeds = MISSING
    if found is not None:
        auroc = cell(found.value, interval(found.value, found.low, found.high))
        spread = "" if found.spread is None else f", sd {number(found.spread)}"
        seeds = cell(len(found.by_seed), f"{len(found.by_seed)}{spread}")
    return {
        "experiment": Cell(entry.label or row.label),
        "changes": Cell(row.change or "–"),
        "against": Cell(data.rows[row.against].label if row.against else "–"),
        "score": Cell(row.score if measured else NOT_RUN),
        AUROC: auroc,
        "seeds": seeds,
        PAPER: cell(entry.auc),
        "AUROC − neighbour's [95 %]": difference,
        "p (Holm)": p,
        f"AUROC, {PRIMARY}": cell(standardised.value) if standardised else MISSING,
        "training, minutes": cell(fmean(measured), f"{fmean(measured):.1f}") if measured else MISSING,
    }


def claims_table(judged: Sequence[Judged]) -> Table:
    """Every claim with its verdict."""
    rows = [
        {"paper": Cell(one.claim.where), "claim": Cell(one.claim.text), "verdict": Cell(one.word), "why": Cell(one.why)}
        for one in judged
    ]
    return Table.of("The paper's claims", rows, note=CLAIMS_NOTE)
