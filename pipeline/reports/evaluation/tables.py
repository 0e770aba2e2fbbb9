"""The evaluation report's tables: every score with every metric, by class, on pasted lesions, and the summary."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.evaluation.records import find
from pipeline.evaluation.saved import LaneEvaluation
from pipeline.reports.evaluation.verdict import Verdict, network_words
from pipeline.reports.kit.paper import PAPER, TABLE_V
from pipeline.reports.kit.scores import (
    IMAGE_COLUMNS,
    KINDS,
    NOTES,
    PIXEL_COLUMNS,
    Metric,
    head,
    score_rows,
    score_table,
)
from pipeline.reports.kit.tables import MISSING, Cell, Table, cell, pairs, record_cell
from pipeline.reports.kit.words import number, record_title, title, with_interval

WITH_INTERVAL = {"image": ("auroc", "auroc_heldout"), "pixel": ("auroc", "ap")}
PASTED_COLUMNS: Mapping[Metric, str] = {
    ("peak_found", "medium"): "peak in the lesion, medium [95 %]",
    ("peak_found", "faint"): "faint",
    ("peak_found", "strong"): "strong",
    ("pixel_auroc", "medium"): "pixel AUROC, medium",
    ("auroc", "medium"): "image AUROC, medium",
}
PASTED_NOTE = (
    "Share of copies whose map is highest inside the pasted lesion (or within one pixel of a 64-px training size), "
    "and AUROC of the copies against the untouched held-out normals. Faint is half, strong twice the medium "
    "contrast. All kinds of lesion are drawn in turn; nothing is trained on two of them, streaks and squares."
)
THRESHOLD_NOTE = "Threshold = 95 % quantile of normal validation scores, so .050 is expected; no test image was used."


def results(lane: LaneEvaluation, level: str) -> Table | None:
    """Every score of a level with every metric, then the paper's rows; None where nothing was measured."""
    wanted = IMAGE_COLUMNS if level == "image" else PIXEL_COLUMNS
    measured = {r["metric"] for r in find(lane.records, level=level, subset="all")}
    columns = {(metric, "all"): column for metric, column in wanted.items() if metric in measured}
    if not columns:
        return None
    paper = [
        head("ProxyAno in the paper", score, KINDS["paper"])
        | {column: cell(values.get(metric)) for (metric, _), column in columns.items()}
        for score, values in _paper_rows(lane.dataset, level)
    ]
    rows = score_rows(lane.records, level, columns, WITH_INTERVAL[level])
    return score_table(f"Results, {level} level", rows, paper, NOTES[level])


def by_class(lane: LaneEvaluation, level: str) -> Table | None:
    """AUROC (and AP of pixels) of each class or lesion type; None where there is only one."""
    metrics = {"auroc": "AUROC"} if level == "image" else {"auroc": "AUROC", "ap": "AP"}
    return _by_subset(lane, level, metrics, "By class" if level == "image" else "By lesion type")


def heldout_by_class(lane: LaneEvaluation) -> Table | None:
    """AUROC of each class against held-out training normals; None without classes or held-out normals."""
    return _by_subset(lane, "image", {"auroc_heldout": "AUROC"}, "By class, against held-out training normals")


def _by_subset(lane: LaneEvaluation, level: str, metrics: Mapping[str, str], title: str) -> Table | None:
    measured = [r["subset"] for r in find(lane.records, level=level) if r["metric"] in metrics]
    names = dict.fromkeys(["all", *measured])
    columns = {(metric, name): f"{name} {word}" for metric, word in metrics.items() for name in names}
    return score_table(title, score_rows(lane.records, level, columns)) if len(names) > 1 else None


def pasted(lane: LaneEvaluation) -> Table | None:
    """Where maps look when a lesion is pasted on a held-out normal; None where none was."""
    rows = score_rows(lane.records, "pasted", PASTED_COLUMNS, ("peak_found",))
    return score_table("Lesions pasted on held-out normals", rows, note=PASTED_NOTE) if rows else None


def summary(verdicts: Sequence[Verdict]) -> Table:
    """The compact table on top: one row per data set."""
    columns = ["data set", "ProxyAno is", "ProxyAno’s score", "AUROC [95 %]", "without the network", "best control"]
    columns += ["AUROC [95 %]", "paper", "ProxyAno, held-out normals [95 %]", "strongest shortcut"]
    rows = []
    for v in verdicts:
        network = network_words(v.gain)
        without = number(v.null["value"] if v.null else None) + (f", {network}" if network else "")
        shortcut = f"{title(v.shortcut['method'])} {number(v.shortcut['value'])}" if v.shortcut else "–"
        rows.append(
            [
                Cell(f"{v.title} ({v.level}s)"),
                Cell(v.standing),
                Cell(v.method["score"] if v.method else "–"),
                replace(record_cell(v.method, intervals=True), strong=not v.behind),
                Cell(without, v.null["value"] if v.null else None),
                Cell(record_title(v.control) if v.control else "–"),
                replace(record_cell(v.control, intervals=True), strong=v.behind),
                cell(PAPER[v.dataset].auroc) if v.dataset in PAPER else MISSING,
                record_cell(v.heldout, intervals=True),
                Cell(shortcut),
            ]
        )
    return Table(title="Summary", columns=columns, rows=rows)


def counts(lane: LaneEvaluation) -> Table | None:
    """Images here and in the official set."""
    here, official = lane.about("counts"), lane.about("official_counts")
    rows = [(name, here.get(name, 0), official.get(name, "–")) for name in dict.fromkeys([*here, *official])]
    return pairs("Images", ("part", "here", "official set"), rows) if rows else None


def thresholds(lane: LaneEvaluation) -> Table | None:
    """Label-free thresholds with the false-alarm rate seen on test normals."""
    rows = []
    for column, value in lane.about("thresholds").items():
        method, score = column.split(":", 1)
        same = {"level": "image", "metric": "false_alarm_rate", "subset": "all", "method": method, "score": score}
        seen = next(iter(find(lane.records, **same)), None)
        rows.append((title(method), "" if score == "value" else score, f"{value:.4g}", with_interval(seen)))
    columns = ("method", "score", "threshold", "false-alarm rate on test normals [95 %]")
    return pairs("Label-free thresholds", columns, rows, THRESHOLD_NOTE) if rows else None


def _paper_rows(dataset: str, level: str) -> list[tuple[str, Mapping[str, float]]]:
    """The paper's (table, metrics); its ACC and F1 are taken as oracles, because no threshold is stated."""
    paper = PAPER.get(dataset)
    if paper is None or paper.level != level:
        return []
    stated = {"auroc": paper.auroc, "acc_oracle": paper.acc, "f1_oracle": paper.f1, "dice_best": paper.f1}
    spaces = zip(("image", "latent"), TABLE_V.get(dataset, ()), strict=False)
    return [("Table I", stated), *((f"Table V, {space} space", {"auroc": auroc}) for space, auroc in spaces)]
