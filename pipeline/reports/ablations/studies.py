"""Three studies that the paper lacks: what lesions pasted on validation normals choose, and what it would give."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev

from pipeline.evaluation.records import PRIMARY, Record, find
from pipeline.reports.ablations.experiments import DataSet
from pipeline.reports.ablations.tables import MISSING, NOT_RUN, measured_cells
from pipeline.reports.benchmark.runs import Measured
from pipeline.reports.kit.tables import Cell, Table
from pipeline.reports.kit.verdict import number, with_interval

TITLES: Mapping[str, str] = {
    "superpixels": "Study: number and compactness of superpixels",
    "resolution": "Study: training resolution and size of the latent",
    "memory": "Study: what keeps the memory in use",
}
COLUMNS = (
    "setting",
    "changes",
    "pasted: image AUROC [95 %]",
    "pasted: peak found",
    "pasted: pixel AUROC",
    "items used (perplexity)",
    "test: AUROC [95 %], not chosen by",
    "seeds",
    "training, minutes",
)
OWN = "own"
"""The row that all studies change."""
CHOSEN_BY = {"level": "pasted", "metric": "auroc", "score": PRIMARY, "subset": "medium"}
"""Lesions of medium contrast on validation normals against the same normals untouched."""


def tables(data: DataSet) -> list[Table]:
    """One table a study that has rows here."""
    return [_table(title, rows, data) for title, rows in _studies(data)]


def sentences(data: DataSet) -> list[str]:
    """What each study would choose, and whether that is more than seeds differ by."""
    said = []
    own = [value for one in data.measured.get(OWN, ()) if (value := _chosen_by(one)) is not None]
    for title, rows in _studies(data):
        firsts = {name: _chosen_by(data.measured[name][0]) for name in rows[1:] if name in data.measured}
        made = {name: value for name, value in firsts.items() if value is not None}
        if not made or not own:
            continue
        name, best = max(made.items(), key=lambda pair: pair[1])
        mean, spread = fmean(own), stdev(own) if len(own) > 1 else None
        seeds = f" ± {number(spread)} over {len(own)} seeds" if spread is not None else ""
        found = f"pasted lesions are told from validation normals best with {data.rows[name].label} ({number(best)})"
        if best <= mean:
            verdict = "nothing is better than what the lane has"
        elif spread is not None and best > mean + 2 * spread:
            verdict = "more than two sd of the seeds better"
        else:
            verdict = "no more than seeds differ by"
        said.append(f"{title}: {found}, against {number(mean)}{seeds} as the lane has it: {verdict}.")
    return said


def _studies(data: DataSet) -> Iterator[tuple[str, list[str]]]:
    """Titles, and the rows with the one that they change first."""
    for study, title in TITLES.items():
        rows = [name for name, row in data.rows.items() if row.study == study]
        if rows and OWN in data.rows:
            yield title, [OWN, *rows]


def _table(title: str, rows: Sequence[str], data: DataSet) -> Table:
    cells = [_row(name, data) for name in rows]
    at = COLUMNS.index("pasted: image AUROC [95 %]")
    values = [row[at].sort for row in cells if row[at].sort is not None]
    for row in cells:
        if values and row[at].sort == max(value for value in values if value is not None):
            row[at] = Cell(row[at].text, row[at].sort, strong=True)
    note = (
        "Chosen by lesions of medium contrast pasted on validation normals alone (image AUROC of the standardised "
        "score; peak of the map in the lesion; AUROC of its pixels). Items: nearest to a latent of a validation "
        "normal, by canvas. Test figures were not looked at for a choice. First seeds, but for the test figures."
    )
    return Table(title=title, columns=COLUMNS, rows=cells, kinds=["method"] * len(cells), note=note)


def _row(name: str, data: DataSet) -> list[Cell]:
    row, measured = data.rows[name], data.measured.get(name)
    head = [Cell(row.label), Cell("–" if name == OWN else row.change)]
    if measured is None:
        return [*head, Cell(NOT_RUN), *[MISSING] * 6]
    first = measured[0]
    pasted = [_pasted(first, metric) for metric in ("auroc", "peak_found", "pixel_auroc")]
    shown = [MISSING if one is None else Cell(with_interval(one), float(one["value"])) for one in pasted]
    minutes = fmean(float(one.lane.about("train_minutes")) for one in measured)
    return [*head, *shown, _memory(first), *measured_cells(data, name), Cell(f"{minutes:.1f}", minutes)]


def _memory(one: Measured) -> Cell:
    used = {canvas: held for canvas, held in one.lane.about("memory").items() if held}
    if not used:
        return MISSING
    text = "; ".join(f"{c} {m['used']} of {m['items']} ({m['perplexity']:.0f})" for c, m in used.items())
    return Cell(text, fmean(m["perplexity"] for m in used.values()))


def _pasted(one: Measured, metric: str) -> Record | None:
    wanted = {**CHOSEN_BY, "metric": metric, "method": one.run.method}
    return next(iter(find(one.lane.records, **wanted)), None)


def _chosen_by(one: Measured) -> float | None:
    """None where the lane pastes no lesions: then nothing can be chosen."""
    record = _pasted(one, "auroc")
    return None if record is None else float(record["value"])
