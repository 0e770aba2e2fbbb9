"""Three studies that the paper lacks: settings chosen by lesions pasted on validation normals."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev

from pipeline.evaluation.score_name import PRIMARY
from pipeline.reports.ablations.experiments import DataSet
from pipeline.reports.ablations.tables import auroc_cells, minutes_cell
from pipeline.reports.kit.runs import Run
from pipeline.reports.kit.tables import MISSING, NOT_RUN, Cell, Row, Table, cell, mark_best, record_cell, table
from pipeline.reports.kit.words import number

TITLES: Mapping[str, str] = {
    "superpixels": "Study: number and compactness of superpixels",
    "resolution": "Study: training resolution and size of the latent",
    "memory": "Study: what keeps the memory in use",
}
OWN = "own"
"""The row that all studies change."""
CONTRAST = "medium"
"""Contrast of the pasted lesions by which a setting is chosen."""
PASTED = {
    "auroc": "pasted: image AUROC [95 %]",
    "peak_found": "pasted: peak found",
    "pixel_auroc": "pasted: pixel AUROC",
}
"""Metric of pasted lesions → its column; the first one chooses."""
NOTE = (
    "Settings are chosen by lesions of medium contrast pasted on validation normals alone (image AUROC of the "
    "standardised score; peak of the map in the lesion; AUROC of its pixels). Items: those nearest to any latent of "
    "a validation normal, by canvas. Test results play no part in the choice; all other results are of the first seed."
)


def tables(data: DataSet) -> list[Table]:
    """One table for each study that has rows here."""
    return [_table(title, names, data) for title, names in _studies(data)]


def sentences(data: DataSet) -> list[str]:
    """What each study would choose, and whether that is more than seeds differ by."""
    own = [value for run in data.measured.get(OWN, ()) if (value := _chosen_by(run)) is not None]
    said = []
    for title, (_, *names) in _studies(data):
        firsts = {name: _chosen_by(data.measured[name][0]) for name in names if name in data.measured}
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
    for study, title in TITLES.items():
        rows = [name for name, row in data.rows.items() if row.study == study]
        if rows and OWN in data.rows:
            yield title, [OWN, *rows]


def _table(title: str, names: Sequence[str], data: DataSet) -> Table:
    rows = [_row(name, data) for name in names]
    mark_best(rows, [PASTED["auroc"]])
    return table(title, rows, kinds=["method"] * len(rows), note=NOTE)


def _row(name: str, data: DataSet) -> Row:
    first = next(iter(data.measured.get(name, ())), None)
    pasted = first.records("pasted", subset=CONTRAST) if first else {}
    cells = {column: record_cell(pasted.get(metric), intervals=True) for metric, column in PASTED.items()}
    if first is None:
        cells[PASTED["auroc"]] = Cell(NOT_RUN)
    return {
        "setting": Cell(data.rows[name].label),
        "changes": Cell("–" if name == OWN else data.rows[name].change),
        **cells,
        "items used (perplexity)": _memory(first) if first else MISSING,
        **auroc_cells(data, name, "test: AUROC [95 %], not used to choose"),
        "training, minutes": minutes_cell(data, name),
    }


def _memory(run: Run) -> Cell:
    used = {canvas: held for canvas, held in run.lane.about("memory").items() if held}
    if not used:
        return MISSING
    text = "; ".join(f"{c} {m['used']} of {m['items']} ({m['perplexity']:.0f})" for c, m in used.items())
    return cell(fmean(m["perplexity"] for m in used.values()), text)


def _chosen_by(run: Run) -> float | None:
    """Image AUROC of lesions pasted on validation normals; None where the lane pastes none."""
    record = run.records("pasted", PRIMARY, CONTRAST).get("auroc")
    return None if record is None else float(record["value"])
