"""The benchmark's tables: Tables I and II of the paper measured again, form on and off, training and cost."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import mean, stdev
from typing import Any

from models.schedule import SETTLED, converged
from pipeline.evaluation.records import Record, find
from pipeline.evaluation.score_name import PRIMARY
from pipeline.reports.benchmark.runs import OWN, DataSet
from pipeline.reports.kit.paper import TABLE_I, TABLE_II
from pipeline.reports.kit.runs import Run
from pipeline.reports.kit.scores import IMAGE_COLUMNS, NOTES, PIXEL_COLUMNS, ScoreRow, head, score_rows
from pipeline.reports.kit.tables import MISSING, NOT_RUN, Cell, Row, Table, cell, compared_cells, mark_best, record_cell
from pipeline.reports.kit.words import number

METRICS = {
    "image": IMAGE_COLUMNS,
    "pixel": {name: PIXEL_COLUMNS[name] for name in ("auroc", "ap", "dice_best", "aupro")},
}
OWN_SCORE = {"image": "latent", "pixel": "residual"}  # each paper's; methods without a latent score repeat their own
OWN_COLUMN = {"image": "AUROC, paper's own score", "pixel": "AUROC, |I − Î|"}
SPREAD, DIFFERENCE, P = "AUROC, mean ± sd over seeds", "AUROC − ProxyAno's [95 %]", "p (Holm)"
PAPER_COLUMNS = ("paper AUC", "paper ACC", "paper F1")
SEPARATION = ("normal", "abnormal", "gap")
LEARNED = {  # metric and subset of what a method does → its column
    ("reconstruction_r2", "validation normals"): "reconstruction R², validation normals",
    ("reconstruction_r2", "test normals"): "reconstruction R², test normals",
    ("repair", "paper patch"): "repair of the paper's patch",
}
TABLE_ONE_NOTE = (
    f"All methods are compared by the score {PRIMARY} of the first seed. Difference and p: paired bootstrap of whole "
    "groups, p corrected for the number of methods (Holm). "
)
TRAINING_NOTE = (
    "R² of the reconstruction and repair as in the lane's report, one figure a canvas; a dash where a method only "
    "marks pixels, or needs the true proxy. Converged: in the last quarter of the steps no stage lowered its best "
    f"validation loss by more than {100 * SETTLED:.0f} %; the last column has the largest of these shares."
)
COST_NOTE = (
    "A step is one batch, on which each phase of a method is updated once, f-AnoGAN's generator at every fifth. "
    "Minutes are means over the seeds, of one process; several processes may have shared the machine."
)


def table_one(data: DataSet) -> Table:
    """Every method with its metrics, the difference to ProxyAno and the paper's figures; then controls and shortcut."""
    metrics = METRICS[data.level]
    columns = (*metrics.values(), SPREAD, DIFFERENCE, P, OWN_COLUMN[data.level], *PAPER_COLUMNS)
    measured = [row for runs in data.measured.values() for row in _method_rows(data, runs)]
    measured.sort(key=lambda row: -(row[metrics["auroc"]].sort or 0.0))
    missing = [head(label, NOT_RUN, "method") | _paper(name, data.paper) for name, label in data.not_run.items()]
    beside = list(_lane_rows(data))
    unranked = ("false alarms", DIFFERENCE, P, *PAPER_COLUMNS)
    ranked = [*measured, *(row for of, row in beside if of != "shortcut")]
    mark_best(ranked, [name for name in columns if name not in unranked])
    empty = dict.fromkeys([*head("", "", ""), *columns], MISSING)
    rows = [empty | row for row in (*measured, *missing, *(row for _, row in beside))]
    kinds = [*["method"] * (len(measured) + len(missing)), *(of for of, _ in beside)]
    return Table.of(f"Table I, {data.level} level", rows, kinds=kinds, note=TABLE_ONE_NOTE + NOTES[data.level])


def _scores(records: list[Record], level: str) -> list[ScoreRow]:
    columns = {(metric, "all"): column for metric, column in METRICS[level].items()}
    return score_rows(records, level, columns, [metric for metric in METRICS[level] if metric.startswith("auroc")])


def _method_rows(data: DataSet, runs: Sequence[Run]) -> Iterator[Row]:
    """A method's row by the primary score, and one for each other way of standardising its score."""
    first, level = runs[0], data.level
    records = [record for record in first.lane.records if record["method"] == first.method]
    rows = {row.score: row.cells for row in _scores(records, level)}
    values = [value for run in runs if (value := run.value(level, "auroc")) is not None]
    spread = Cell("one seed")
    if len(values) > 1:
        spread = cell(mean(values), f"{number(mean(values))} ± {number(stdev(values))} ({len(values)})")
    compared = dict(zip((DIFFERENCE, P), compared_cells(data.differences.get(first.method)), strict=True))
    compared[OWN_COLUMN[level]] = cell(first.value(level, "auroc", OWN_SCORE[level]))
    named = head(first.label, PRIMARY, "ProxyAno" if first.method == OWN else "method")
    yield rows.get(PRIMARY, {}) | named | {SPREAD: spread} | compared | _paper(first.method, data.paper)
    for score in sorted(name for name in rows if name.startswith(f"{PRIMARY}_")):
        yield rows[score] | head(first.label, score.removeprefix(f"{PRIMARY}_").replace("_", " "), "method")


def _paper(method: str, dataset: str) -> Row:
    stated = TABLE_I.get(method, {}).get(dataset, (None,) * 3)
    return {column: cell(value) for column, value in zip(PAPER_COLUMNS, stated, strict=True)}


def _lane_rows(data: DataSet) -> Iterator[tuple[str, Row]]:
    """(kind, row): the main lane's ProxyAno, its controls and its strongest shortcut; says where no control was run."""
    rows = _scores(data.beside, data.level)
    for row in rows:
        if (row.method, row.score) == (OWN, PRIMARY):
            yield "method", row.cells | head("ProxyAno, at the lane's own budget", PRIMARY, "ProxyAno")
    controls = [row for row in rows if row.kind == "control"]
    shortcuts = [row for row in rows if row.kind == "shortcut"]
    for row in (*controls, *shortcuts[:1]):
        yield row.kind, row.cells
    if not controls:
        yield "control", head("controls", NOT_RUN, "control")


def table_two(data: DataSet) -> Table | None:
    """Mean score of normal and of abnormal test images in sd of validation normals, and the gap between them."""
    if data.level != "image" or not data.measured:
        return None
    rows = []
    for method, runs in data.measured.items():
        row = {"method": Cell(runs[0].label)}
        for score, words in ((PRIMARY, "standardised"), (OWN_SCORE["image"], "own score")):
            means = zip(SEPARATION, separation(runs[0], score), strict=True)
            row |= {f"{name}, {words}": cell(value, f"{value:.2f}") for name, value in means}
        paper = TABLE_II.get(method, (None,) * 3) if data.paper == "oct" else (None,) * 3
        rows.append(row | {f"{name}, paper": cell(value) for name, value in zip(SEPARATION, paper, strict=True)})
    rows.sort(key=lambda row: -(row["gap, standardised"].sort or 0.0))
    note = "In sd of the scores of validation normals, whose mean is 0. Each of the paper's scores has its own scale."
    return Table.of("Table II: mean scores", rows, note=note)


def separation(run: Run, score: str) -> tuple[float, float, float]:
    """(mean of test normals, of abnormal test images, gap) in sd of validation normals."""
    scores, column = run.lane.scores, f"{run.method}:{score}"
    normal = scores[(scores["split"] == "val") & (scores["label"] == 0)][column]
    z = (run.test[column] - normal.mean()) / max(float(normal.std(ddof=0)), 1e-12)
    below, above = (float(z[run.test["label"] == label].mean()) for label in (0, 1))
    return below, above, above - below


def form_table(on: DataSet, off: DataSet) -> Table | None:
    """AUROC with the canonical form on and off: what the form gives, and what the method."""
    rows = []
    for method in (name for name in on.measured if name in off.measured):
        row = {"method": Cell(on.measured[method][0].label)}
        for score, words in ((PRIMARY, "standardised"), (OWN_SCORE[on.level], "own score")):
            first, second = (data.measured[method][0].record(on.level, "auroc", score) for data in (on, off))
            gain = cell(float(first["value"]) - float(second["value"])) if first and second else MISSING
            row |= {f"form on, {words}": record_cell(first, intervals=True)}
            row |= {f"form off, {words}": record_cell(second, intervals=True), f"on − off, {words}": gain}
        rows.append(row)
    note = "The same images, budget and seed; the form changes what the network sees, and how many canvases there are."
    return Table.of("Canonical form on and off", rows, note=note) if rows else None


def cost_table(data: DataSet) -> Table | None:
    """What each method costs, as measured in its own process."""
    rows = []
    for runs in data.measured.values():
        about = runs[0].lane.about
        minutes = mean(float(run.lane.about("train_minutes")) for run in runs)
        steps = [sum(stages.values()) for stages in about("budget").values()]
        rates = {rate for stages in about("learning_rate").values() for rate in stages.values()}
        memory = about("peak_memory_gib")
        rows.append(
            {
                "method": Cell(runs[0].label),
                "parameters": cell(about("parameters"), f"{about('parameters'):,}"),
                "steps (by canvas)": cell(sum(steps), _joined(steps)),
                "batch": Cell(_joined(set(about("batch_size").values()))),
                "learning rate": Cell(_joined(sorted(rates))),
                "training, minutes": cell(minutes, f"{minutes:.1f}"),
                "images/s at inference": cell(about("images_per_second"), f"{about('images_per_second'):.0f}"),
                "peak memory, GiB": MISSING if memory is None else cell(memory, f"{memory:.2f}"),
            }
        )
    return Table.of("Cost", rows, note=COST_NOTE) if rows else None


def training_table(data: DataSet) -> Table | None:
    """What each method does to images, and whether its training had converged; first seeds."""
    rows = []
    for runs in data.measured.values():
        lane = runs[0].lane
        gains = [gain for stages in lane.about("last_gain").values() for gain in stages.values()]
        largest = max((gain for gain in gains if gain is not None), default=None)
        row = {"method": Cell(runs[0].label)}
        for (metric, subset), column in LEARNED.items():
            found = find(lane.records, level="reconstruction", metric=metric, subset=subset)
            values = [float(record["value"]) for record in found]
            row[column] = cell(mean(values), " / ".join(f"{one:.2f}" for one in values)) if values else MISSING
        row["converged"] = Cell({True: "yes", False: "no", None: "–"}[converged(gains)])
        row["gained in the last quarter"] = MISSING if largest is None else cell(largest, f"{100 * largest:.0f} %")
        rows.append(row)
    return Table.of("What the methods learned", rows, note=TRAINING_NOTE) if rows else None


def _joined(values: Iterable[Any]) -> str:
    return " + ".join(f"{value:g}" for value in values)
