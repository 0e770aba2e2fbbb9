"""The benchmark's tables: Tables I and II of the paper measured again, form on and off, and what each method costs."""

import math
from collections.abc import Iterable, Sequence
from statistics import mean, stdev
from typing import Any

from models.convergence import SETTLED, converged
from pipeline.evaluation.records import PRIMARY, Record, find, kind
from pipeline.reports.benchmark.paper import TABLE_I, TABLE_II
from pipeline.reports.benchmark.runs import OWN, OWN_SCORE, DataSet, Measured
from pipeline.reports.kit.tables import IMAGE_COLUMNS, NOTES, PIXEL_COLUMNS, Cell, Table
from pipeline.reports.kit.verdict import number, title, with_interval

METRICS = {
    "image": {**IMAGE_COLUMNS, "auroc": "AUROC [95 %]"},
    "pixel": {name: PIXEL_COLUMNS[name] for name in ("auroc", "ap", "dice_best", "aupro")},
}
OWN_COLUMN = {"image": "AUROC, paper's own score", "pixel": "AUROC, |I − Î|"}
HEAD = ("method", "score", "kind")
COMPARED = ("AUROC, mean ± sd over seeds", "AUROC − ProxyAno's [95 %]", "p (Holm)")
PAPER_COLUMNS = ("paper AUC", "paper ACC", "paper F1")
DOES = {
    ("reconstruction_r2", "validation normals"): "reconstruction R², validation normals",
    ("reconstruction_r2", "test normals"): "reconstruction R², test normals",
    ("repair", "paper patch"): "repair of the paper's patch",
}
"""Metric and subset of what a method does → its column."""
NOT_RUN = "not run"
MISSING = Cell("–")


def table_one(data: DataSet) -> Table:
    """Every method with its metrics, the difference to ProxyAno and the paper's figures; then controls and shortcut."""
    metrics = METRICS[data.level]
    columns = (*HEAD, *metrics.values(), *COMPARED, OWN_COLUMN[data.level], *PAPER_COLUMNS)
    rows: list[tuple[str, list[Cell]]] = []
    for method, runs in data.measured.items():
        first = runs[0]
        rows.append(("method", _method_row(data, method, runs)))
        scores = {str(r["score"]) for r in first.lane.records if r["method"] == method}
        for score in sorted(name for name in scores if name.startswith(f"{PRIMARY}_")):
            cells = [_cell(first.record(data.level, name, score), name) for name in metrics]
            words = score.removeprefix(f"{PRIMARY}_").replace("_", " ")
            rows.append(("method", _filled([Cell(first.run.label), Cell(words), Cell("method"), *cells], columns)))
    rows.sort(key=lambda row: -(row[1][len(HEAD)].sort or 0.0))
    for run in data.not_run:
        paper = _paper(run.method, data.key)
        start = [Cell(run.label), Cell(NOT_RUN), Cell("method")]
        rows.append(("method", [*_filled(start, columns[: -len(paper)]), *paper]))
    rows += [(of, _filled(cells, columns)) for of, cells in _lane_rows(data)]
    note = (
        f"The score all are judged by is {PRIMARY}, of the first seed. Difference and p: paired bootstrap of whole "
        "groups, p corrected for the number of methods (Holm). "
    )
    return Table(
        title=f"Table I, {data.level} level",
        columns=columns,
        rows=_strong([cells for _, cells in rows], [of for of, _ in rows], columns),
        kinds=[of for of, _ in rows],
        note=note + NOTES[data.level],
    )


def _filled(cells: list[Cell], columns: Sequence[str]) -> list[Cell]:
    return [*cells, *[MISSING] * (len(columns) - len(cells))]


def _method_row(data: DataSet, method: str, runs: Sequence[Measured]) -> list[Cell]:
    first, level = runs[0], data.level
    values = [value for one in runs if (value := one.value(level, "auroc")) is not None]
    spread = Cell("one seed")
    if len(values) > 1:
        spread = Cell(f"{number(mean(values))} ± {number(stdev(values))} ({len(values)})", mean(values))
    own = first.record(level, "auroc", OWN_SCORE[level])
    difference = data.differences.get(method)
    compared = [MISSING, MISSING]
    if difference is not None and math.isfinite(difference.value):
        text = f"{number(difference.value)} [{number(difference.low)}, {number(difference.high)}]"
        compared = [Cell(text, difference.value), Cell(number(difference.p), difference.p)]
    cells = [_cell(first.record(level, name), name) for name in METRICS[level]]
    head = [Cell(first.run.label), Cell(PRIMARY), Cell("ProxyAno" if method == OWN else "method")]
    return [*head, *cells, spread, *compared, _cell(own, "ap"), *_paper(method, data.key)]


def _paper(method: str, dataset: str) -> list[Cell]:
    figures = TABLE_I.get(method, {}).get(dataset)
    return [MISSING] * 3 if figures is None else [Cell(number(value), value) for value in figures]


def _cell(record: Record | None, metric: str) -> Cell:
    if record is None:
        return MISSING
    value = float(record["value"])
    return Cell(with_interval(record) if metric.startswith("auroc") else number(value), value)


def _lane_rows(data: DataSet) -> Iterable[tuple[str, list[Cell]]]:
    """The main lane's ProxyAno, its controls and its strongest shortcut; one row says where no control was run."""
    found: dict[tuple[str, str], dict[str, Record]] = {}
    for record in find(list(data.beside), level=data.level, subset="all"):
        if record["metric"] in METRICS[data.level]:
            found.setdefault((record["method"], record["score"]), {})[record["metric"]] = record
    own = [key for key in found if key == (OWN, PRIMARY)]
    controls = sorted((key for key in found if kind(key[0]) == "control"), key=lambda key: -_auroc(found[key]))
    shortcuts = sorted((key for key in found if kind(key[0]) == "shortcut"), key=lambda key: -_auroc(found[key]))
    for key in [*own, *controls, *shortcuts[:1]]:
        of = kind(key[0])
        name = "ProxyAno, at the lane's own budget" if key in own else title(key[0])
        cells = [_cell(found[key].get(metric), metric) for metric in METRICS[data.level]]
        score = "" if key[1] == "value" else key[1]
        yield of, [Cell(name), Cell(score), Cell("ProxyAno" if key in own else of), *cells]
    if not controls:
        yield "control", [Cell("controls"), Cell(NOT_RUN), Cell("control")]


def _auroc(records: dict[str, Record]) -> float:
    return float(records["auroc"]["value"]) if "auroc" in records else 0.0


def _strong(rows: list[list[Cell]], kinds: Sequence[str], columns: Sequence[str]) -> list[list[Cell]]:
    """The best of each measured column set in bold; shortcuts, the paper's columns and rates of alarms take no part."""
    for at, column in enumerate(columns):
        if column in ("false alarms", *COMPARED[1:], *PAPER_COLUMNS):
            continue
        values = [r[at].sort for r, of in zip(rows, kinds, strict=True) if of != "shortcut" and r[at].sort is not None]
        for row, of in zip(rows, kinds, strict=True):
            if values and of != "shortcut" and row[at].sort == max(v for v in values if v is not None):
                row[at] = Cell(row[at].text, row[at].sort, strong=True)
    return rows


def table_two(data: DataSet) -> Table | None:
    """Mean score of normal and of abnormal test images in sd of validation normals, and the gap between them."""
    if data.level != "image" or not data.measured:
        return None
    rows = []
    for method, runs in data.measured.items():
        cells = [Cell(runs[0].run.label)]
        for score in (PRIMARY, OWN_SCORE["image"]):
            cells += [Cell(f"{value:.2f}", value) for value in separation(runs[0], score)]
        paper = TABLE_II.get(method) if data.key == "oct" else None
        cells += [MISSING] * 3 if paper is None else [Cell(number(value), value) for value in paper]
        rows.append(cells)
    rows.sort(key=lambda row: -(row[3].sort or 0.0))
    names = ("normal", "abnormal", "gap")
    columns = ("method", *(f"{name}, standardised" for name in names), *(f"{name}, own score" for name in names))
    columns += tuple(f"{name}, paper" for name in names)
    note = "In sd of the scores of validation normals, whose mean is 0. The paper's scores are on scales of their own."
    return Table(title="Table II: mean scores", columns=columns, rows=rows, note=note)


def separation(measured: Measured, score: str) -> tuple[float, float, float]:
    """(mean of test normals, of abnormal test images, gap) in sd of validation normals."""
    table, column = measured.lane.scores, f"{measured.run.method}:{score}"
    normal = table[(table["split"] == "val") & (table["label"] == 0)][column]
    test = table[table["split"] == "test"]
    z = (test[column] - normal.mean()) / max(float(normal.std(ddof=0)), 1e-12)
    means = [float(z[test["label"] == label].mean()) for label in (0, 1)]
    return means[0], means[1], means[1] - means[0]


def form_table(on: DataSet, off: DataSet) -> Table | None:
    """AUROC with the canonical form on and off: what the form gives, and what the method."""
    both = [method for method in on.measured if method in off.measured]
    rows = []
    for method in both:
        cells = [Cell(on.measured[method][0].run.label)]
        for score in (PRIMARY, OWN_SCORE[on.level]):
            found = [data.measured[method][0].record(on.level, "auroc", score) for data in (on, off)]
            cells += [_cell(record, "auroc") for record in found]
            gain = None if None in found else float(found[0]["value"]) - float(found[1]["value"])  # type: ignore[index]
            cells.append(MISSING if gain is None else Cell(number(gain), gain))
        rows.append(cells)
    parts = ("form on", "form off", "on − off")
    columns = ("method", *(f"{part}, standardised" for part in parts), *(f"{part}, own score" for part in parts))
    note = "The same images, budget and seed; the form changes what the network sees, and how many canvases there are."
    return Table(title="Canonical form on and off", columns=columns, rows=rows, note=note) if rows else None


def cost_table(data: DataSet) -> Table | None:
    """What each method costs, as measured in its own process."""
    rows = []
    for runs in data.measured.values():
        about = runs[0].lane.about
        minutes = mean(float(one.lane.about("train_minutes")) for one in runs)
        steps = [sum(stages.values()) for stages in about("budget").values()]
        rates = {rate for stages in about("learning_rate").values() for rate in stages.values()}
        texts: list[tuple[str, float | None]] = [
            (runs[0].run.label, None),
            (f"{about('parameters'):,}", float(about("parameters"))),
            (_joined(steps), float(sum(steps))),
            (_joined(set(about("batch_size").values())), None),
            (_joined(sorted(rates)), None),
            (f"{minutes:.1f}", minutes),
            (f"{about('images_per_second'):.0f}", float(about("images_per_second"))),
            _memory(about("peak_memory_gib")),
        ]
        rows.append([Cell(text, sort) for text, sort in texts])
    columns = ["method", "parameters", "steps (by canvas)", "batch", "learning rate", "training, minutes"]
    columns += ["images/s at inference", "peak memory, GiB"]
    note = (
        "A step is one batch, on which each phase of a method is updated once, f-AnoGAN's generator at every fifth. "
        "Minutes are means over the seeds, of one process; several processes may have shared the machine."
    )
    return Table(title="Cost", columns=columns, rows=rows, note=note) if rows else None


def training_table(data: DataSet) -> Table | None:
    """What each method does to images, and whether its training had converged; first seed."""
    rows = []
    for runs in data.measured.values():
        lane = runs[0].lane
        gains = [gain for stages in lane.about("last_gain").values() for gain in stages.values()]
        known = [gain for gain in gains if gain is not None]
        verdict = {True: "yes", False: "no", None: "–"}[converged(gains)]
        gained = Cell(f"{100 * max(known):.0f} %", max(known)) if known else MISSING
        found = [find(lane.records, level="reconstruction", metric=metric, subset=subset) for metric, subset in DOES]
        rows.append([Cell(runs[0].run.label), *(_by_canvas(records) for records in found), Cell(verdict), gained])
    columns = ("method", *DOES.values(), "converged", "gained in the last quarter")
    note = (
        "R² of the reconstruction and repair as in the lane's report, one figure a canvas; a dash where a method only "
        "marks pixels, or needs the true proxy. Converged: in the last quarter of the steps no stage lowered its best "
        f"validation loss by more than {100 * SETTLED:.0f} %; the last column has the largest of these shares."
    )
    return Table(title="What the methods learned", columns=columns, rows=rows, note=note) if rows else None


def _by_canvas(records: Sequence[Record]) -> Cell:
    values = [float(record["value"]) for record in records]
    return Cell(" / ".join(f"{value:.2f}" for value in values), mean(values)) if values else MISSING


def _memory(value: float | None) -> tuple[str, float | None]:
    return ("–", None) if value is None else (f"{value:.2f}", value)


def _joined(values: Iterable[Any]) -> str:
    return " + ".join(f"{value:g}" for value in values)
