"""Scores of an evaluation as rows of a table, and the best of a kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.evaluation.records import Record, find
from pipeline.evaluation.score_name import PRIMARY, kind_of
from pipeline.reports.kit.tables import Cell, Row, Table, mark_best, record_cell, table
from pipeline.reports.kit.words import title

ORACLE_MARK = "†"
IMAGE_COLUMNS = {
    "auroc": "AUROC [95 %]",
    "ap": "AP",
    "acc": "ACC",
    "f1": "F1",
    "false_alarm_rate": "false alarms",
    "acc_oracle": f"ACC {ORACLE_MARK}",
    "f1_oracle": f"F1 {ORACLE_MARK}",
    "auroc_heldout": "AUROC, held-out normals [95 %]",
    "auroc_adjusted": "AUROC, shortcuts taken out ‡",
}
"""Image metric → its column."""
PIXEL_COLUMNS = {
    "auroc": "AUROC [95 %]",
    "ap": "AP [95 %]",
    "dice_best": f"Dice {ORACLE_MARK}",
    "aupro": "AUPRO ≤ .3",
    "auroc_image_mean": "AUROC, image mean",
    "ap_image_mean": "AP, image mean",
}
"""Pixel metric → its column."""
NOTES = {
    "image": f"{ORACLE_MARK} oracle: the threshold is the best one on these very test images. ACC and F1 without the "
    "mark use the label-free threshold. The paper states no image threshold; its ACC and F1 are listed as oracles. "
    "AUROC of shortcuts is free of direction, max(a, 1 − a), so it is never below .5. ‡ Of the score minus what a "
    "linear fit on the shortcuts, made on normal validation images alone, predicts.",
    "pixel": f"{ORACLE_MARK} oracle: the threshold is the best one on these very pixels (the paper's F1 is listed "
    "here, at its lesion threshold of .5). Positives are lesion pixels, negatives are scored pixels without a lesion.",
}
"""Level → what readers of its metrics have to know."""
KINDS = {
    "committee": "committee",
    "method": "ProxyAno",
    "member": "member",
    "null": "no network",
    "control": "control",
    "shortcut": "shortcut",
    "paper": "paper",
}
"""Kind of score → its name in tables, in the order of their rows."""
Metric = tuple[str, str]
"""(metric, subset) of a record."""


@dataclass(frozen=True)
class ScoreRow:
    """A score as a row of a table."""

    method: str
    score: str
    cells: Row

    @property
    def kind(self) -> str:
        """``method``, ``control``, ``shortcut`` and so on."""
        return kind_of(self.method)


def head(name: str, score: str, of: str) -> Row:
    """The first cells of a score's row."""
    return {"method": Cell(name), "score": Cell("" if score == "value" else score), "kind": Cell(of)}


def score_rows(
    records: list[Record], level: str, columns: Mapping[Metric, str], intervals: Sequence[str] = ()
) -> list[ScoreRow]:
    """A row per score, by kind and then in falling order of the first column; ``intervals`` are metrics that show one.

    Scores without any of the metrics are left out.
    """
    measured: dict[tuple[str, str], dict[Metric, Record]] = {}
    for record in find(records, level=level):
        if (metric := (record["metric"], record["subset"])) in columns:
            measured.setdefault((record["method"], record["score"]), {})[metric] = record
    order, first = list(KINDS), next(iter(columns))

    def place(key: tuple[str, str]) -> tuple[int, float]:
        top = measured[key].get(first)
        return order.index(kind_of(key[0])), -float(top["value"]) if top else 0.0

    def cells(found: Mapping[Metric, Record]) -> Row:
        return {name: record_cell(found.get(key), intervals=key[0] in intervals) for key, name in columns.items()}

    return [
        ScoreRow(method, score, head(title(method), score, KINDS[kind_of(method)]) | cells(measured[method, score]))
        for method, score in sorted(measured, key=place)
    ]


def score_table(name: str, rows: Sequence[ScoreRow], more: Sequence[Row] = (), note: str = "") -> Table:
    """Scores with the best of each column marked, then ``more`` rows of the paper; shortcuts take no part."""
    columns = [column for column in rows[0].cells if column != IMAGE_COLUMNS["false_alarm_rate"]]
    mark_best([row.cells for row in rows if row.kind != "shortcut"], columns)
    kinds = [*(row.kind for row in rows), *["paper"] * len(more)]
    return table(name, [*(row.cells for row in rows), *more], kinds=kinds, note=note)


def best(records: list[Record], level: str, of: str) -> Record | None:
    """Highest AUROC of a kind of score over all images of one data set.

    Methods and nulls enter with the primary score alone (methods without one with any), others with their best score.
    """
    rows = [row for row in find(records, level=level, metric="auroc", subset="all") if kind_of(row["method"]) == of]
    if of in ("method", "null"):
        primary = [row for row in rows if row["score"] == PRIMARY]
        rows = primary if primary or of == "null" else rows
    return max(rows, key=lambda row: float(row["value"]), default=None)
