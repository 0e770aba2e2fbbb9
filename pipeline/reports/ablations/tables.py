"""Tables of the ablations: the paper's with our results, its claims, and three studies that the paper lacks."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev

from pipeline.evaluation.score_name import PRIMARY
from pipeline.reports.ablations.experiments import Compared, DataSet, Judged
from pipeline.reports.kit.paper import Entry, Printed
from pipeline.reports.kit.runs import Run
from pipeline.reports.kit.tables import MISSING, NOT_RUN, Cell, Row, Table, cell, compared_cells, mark_best, record_cell
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
STUDIES: Mapping[str, str] = {
    "superpixels": "Study: number and compactness of superpixels",
    "resolution": "Study: training resolution and size of the latent",
    "memory": "Study: what keeps the memory in use",
}
OWN = "own"  # the row that all studies change
CONTRAST = "medium"  # of the pasted lesions by which a setting is chosen
PASTED = {  # metric of pasted lesions → its column; the first one chooses
    "auroc": "pasted: image AUROC [95 %]",
    "peak_found": "pasted: peak found",
    "pixel_auroc": "pasted: pixel AUROC",
}
STUDY_NOTE = (
    "Settings are chosen by lesions of medium contrast pasted on validation normals alone (image AUROC of the "
    "standardised score; peak of the map in the lesion; AUROC of its pixels). Items: those nearest to any latent of "
    "a validation normal, by canvas. Test results play no part in the choice; all other results are of the first seed."
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
    row, standardised = data.rows[entry.name], data.auroc(entry.name, PRIMARY)
    difference, p = compared_cells(compared)
    return {
        "experiment": Cell(entry.label or row.label),
        "changes": Cell(row.change or "–"),
        "against": Cell(data.rows[row.against].label if row.against else "–"),
        "score": Cell(row.score if entry.name in data.measured else NOT_RUN),
        **_auroc_cells(data, entry.name, AUROC),
        PAPER: cell(entry.auc),
        "AUROC − neighbour's [95 %]": difference,
        "p (Holm)": p,
        f"AUROC, {PRIMARY}": cell(standardised.value) if standardised else MISSING,
        "training, minutes": _minutes_cell(data, entry.name),
    }


def _auroc_cells(data: DataSet, name: str, column: str) -> Row:
    """AUROC with its interval, and the number of seeds with their sd."""
    found = data.auroc(name)
    if found is None:
        return {column: MISSING, "seeds": MISSING}
    seeds = f"{len(found.by_seed)}" + ("" if found.spread is None else f", sd {number(found.spread)}")
    text = interval(found.value, found.low, found.high)
    return {column: cell(found.value, text), "seeds": cell(len(found.by_seed), seeds)}


def _minutes_cell(data: DataSet, name: str) -> Cell:
    """Mean training minutes of the runs that exist."""
    if name not in data.measured:
        return MISSING
    minutes = fmean(float(run.lane.about("train_minutes")) for run in data.measured[name])
    return cell(minutes, f"{minutes:.1f}")


def claims_table(judged: Sequence[Judged]) -> Table:
    """Every claim with its verdict."""
    rows = [
        {"paper": Cell(one.claim.where), "claim": Cell(one.claim.text), "verdict": Cell(one.word), "why": Cell(one.why)}
        for one in judged
    ]
    return Table.of("The paper's claims", rows, note=CLAIMS_NOTE)


def study_tables(data: DataSet) -> list[Table]:
    """One table for each study that has rows here."""
    tables = []
    for title, names in _studies(data):
        rows = [_study_row(name, data) for name in names]
        mark_best(rows, [PASTED["auroc"]])
        tables.append(Table.of(title, rows, kinds=["method"] * len(rows), note=STUDY_NOTE))
    return tables


def study_sentences(data: DataSet) -> list[str]:
    """What each study would choose, and whether that is more than seeds differ by."""

    def chosen_by(run: Run) -> float | None:
        return run.value("pasted", "auroc", subset=CONTRAST)

    own = [value for run in data.measured.get(OWN, ()) if (value := chosen_by(run)) is not None]
    said = []
    for title, (_, *names) in _studies(data):
        firsts = {name: chosen_by(data.measured[name][0]) for name in names if name in data.measured}
        found = {name: value for name, value in firsts.items() if value is not None}
        if found and own:
            name, best = max(found.items(), key=lambda pair: pair[1])
            said.append(f"{title}: {_choice(data.rows[name].label, best, own)}.")
    return said


def _choice(label: str, best: float, own: Sequence[float]) -> str:
    """The best setting compared with the lane's own, whose results by seed are ``own``."""
    mean, spread = fmean(own), stdev(own) if len(own) > 1 else None
    seeds = f" ± {number(spread)} over {len(own)} seeds" if spread is not None else ""
    if best <= mean:
        verdict = "nothing is better than the lane's setting"
    elif spread is not None and best > mean + 2 * spread:
        verdict = "better by more than two sd of the seeds"
    else:
        verdict = "no more than seeds differ by"
    found = f"lesions pasted on validation normals are detected best with {label} ({number(best)})"
    return f"{found}; the lane's setting has {number(mean)}{seeds}: {verdict}"


def _studies(data: DataSet) -> Iterator[tuple[str, list[str]]]:
    """Title of each study, and its rows after the one that they change."""
    for study, title in STUDIES.items():
        rows = [name for name, row in data.rows.items() if row.study == study]
        if rows and OWN in data.rows:
            yield title, [OWN, *rows]


def _study_row(name: str, data: DataSet) -> Row:
    first = next(iter(data.measured.get(name, ())), None)
    cells = dict.fromkeys(PASTED.values(), MISSING) | {PASTED["auroc"]: Cell(NOT_RUN)}
    if first is not None:
        found = {column: first.record("pasted", metric, subset=CONTRAST) for metric, column in PASTED.items()}
        cells = {column: record_cell(record, intervals=True) for column, record in found.items()}
    return {
        "setting": Cell(data.rows[name].label),
        "changes": Cell("–" if name == OWN else data.rows[name].change),
        **cells,
        "items used (perplexity)": _memory(first) if first else MISSING,
        **_auroc_cells(data, name, "test: AUROC [95 %], not used to choose"),
        "training, minutes": _minutes_cell(data, name),
    }


def _memory(run: Run) -> Cell:
    used = {canvas: held for canvas, held in run.lane.about("memory").items() if held}
    if not used:
        return MISSING
    text = "; ".join(f"{c} {m['used']} of {m['items']} ({m['perplexity']:.0f})" for c, m in used.items())
    return cell(fmean(m["perplexity"] for m in used.values()), text)
