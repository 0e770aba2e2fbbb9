"""Scores of an evaluation as rows of a table, and the best of a kind."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.detectors.volumes import WORST
from pipeline.evaluation.records import Record, find
from pipeline.evaluation.score_name import PRIMARY, kind_of
from pipeline.reports.kit.tables import Cell, Row, Table, mark_best, record_cell
from pipeline.reports.kit.words import title

IMAGE_COLUMNS = {  # metric → its column
    "auroc": "AUROC [95 %]",
    "ap": "AP",
    "acc": "ACC",
    "f1": "F1",
    "false_alarm_rate": "false alarms",
    "sensitivity": "sensitivity",
    "acc_oracle": "ACC †",
    "f1_oracle": "F1 †",
    "auroc_heldout": "AUROC, held-out normals [95 %]",
    "auroc_adjusted": "AUROC, shortcuts taken out ‡",
}
PIXEL_COLUMNS = {
    "auroc": "AUROC [95 %]",
    "ap": "AP [95 %]",
    "dice_best": "Dice †",
    "aupro": "AUPRO ≤ .3",
    "auroc_image_mean": "AUROC, image mean",
    "ap_image_mean": "AP, image mean",
}
NOTES = {  # level → what readers of its metrics have to know
    "image": "† oracle: the threshold is the best one on these very test images. ACC, F1, false alarms and sensitivity "
    "use the label-free threshold. The paper states no image threshold; its ACC and F1 are listed as oracles. "
    "AUROC of shortcuts is free of direction, max(a, 1 − a), so it is never below .5. ‡ Of the score minus what a "
    "linear fit on the shortcuts, made on normal validation images alone, predicts.",
    "volume": f"The score of a volume is the mean of its {WORST} highest slice scores; it is abnormal if one of its "
    "slices is. False alarms are those among test volumes at a conformal rate of .05, or the lowest that the normal "
    "validation volumes can tell.",
    "pixel": "† oracle: the threshold is the best one on these very pixels (the paper's F1 is listed "
    "here, at its lesion threshold of .5). Positives are lesion pixels, negatives are scored pixels without a lesion.",
}
KINDS = {  # kind of score → its name in tables, in the order of their rows
    "committee": "committee",
    "method": "ProxyAno",
    "member": "member",
    "null": "no network",
    "control": "control",
    "shortcut": "shortcut",
    "paper": "paper",
}
Metric = tuple[str, str]  # (metric, subset) of a record


class ScoreRow(NamedTuple):
    """A score as a row of a table; ``kind`` is ``method``, ``control``, ``shortcut`` and so on."""

    method: str
    score: str
    kind: str
    cells: Row


def head(name: str, score: str, of: str) -> Row:
    """The first cells of a score's row."""
    return {"method": Cell(name), "score": Cell("" if score == "value" else score), "kind": Cell(of)}


def score_rows(
    records: list[Record], level: str, columns: Mapping[Metric, str], intervals: Sequence[str] = ()
) -> list[ScoreRow]:
    """A row per score with any of the metrics, by kind, then falling in the first; ``intervals``: metrics with one."""
    measured: dict[tuple[str, str], dict[Metric, Record]] = {}
    for record in find(records, level=level):
        if (metric := (record["metric"], record["subset"])) in columns:
            measured.setdefault((record["method"], record["score"]), {})[metric] = record
    order, first, rows = list(KINDS), next(iter(columns)), []
    for (method, score), found in measured.items():
        cells = {name: record_cell(found.get(key), intervals=key[0] in intervals) for key, name in columns.items()}
        kind = kind_of(method)
        rows.append(ScoreRow(method, score, kind, head(title(method), score, KINDS[kind]) | cells))
    return sorted(rows, key=lambda row: (order.index(row.kind), -(row.cells[columns[first]].sort or 0.0)))


def score_table(name: str, rows: Sequence[ScoreRow], more: Sequence[Row] = (), note: str = "") -> Table:
    """Scores with the best of each column marked, then ``more`` rows of the paper; shortcuts take no part."""
    columns = [column for column in rows[0].cells if column != IMAGE_COLUMNS["false_alarm_rate"]]
    mark_best([row.cells for row in rows if row.kind != "shortcut"], columns)
    kinds = [*(row.kind for row in rows), *["paper"] * len(more)]
    return Table.of(name, [*(row.cells for row in rows), *more], kinds=kinds, note=note)


def best(records: list[Record], level: str, of: str) -> Record | None:
    """Highest AUROC of a kind of score over all images of one data set.

    Methods and nulls enter with the primary score alone (methods without one with any), others with their best score.
    """
    rows = [row for row in find(records, level=level, metric="auroc", subset="all") if kind_of(row["method"]) == of]
    if of in ("method", "null"):
        primary = [row for row in rows if row["score"] == PRIMARY]
        rows = primary if primary or of == "null" else rows
    return max(rows, key=lambda row: float(row["value"]), default=None)
