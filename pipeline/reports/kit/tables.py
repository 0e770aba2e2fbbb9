"""Tables of the report, built once and shown on the page, in Markdown and on the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.evaluation.records import Record, find, kind
from pipeline.evaluation.saved import LaneEvaluation
from pipeline.reports.kit.verdict import PAPER, Verdict, full_name, number, title, with_interval

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
PIXEL_COLUMNS = {
    "auroc": "AUROC [95 %]",
    "ap": "AP [95 %]",
    "dice_best": f"Dice {ORACLE_MARK}",
    "aupro": "AUPRO ≤ .3",
    "auroc_image_mean": "AUROC, image mean",
    "ap_image_mean": "AP, image mean",
}
NOTES = {
    "image": f"{ORACLE_MARK} oracle: the threshold is the best one on these very test images. ACC and F1 without the "
    "mark use the label-free threshold. The paper states no image threshold; its ACC and F1 stand under the oracles. "
    "AUROC of shortcuts is free of direction, max(a, 1 − a), so it is never below .5. ‡ The score less what a linear "
    "fit on the shortcuts, made on normal validation images alone, predicts of it.",
    "pixel": f"{ORACLE_MARK} oracle: the threshold is the best one on these very pixels (the paper's F1 stands there, "
    "at its lesion threshold of .5). Positives are lesion pixels, negatives are scored pixels of no lesion.",
}
WITH_INTERVAL = {"image": ("auroc", "auroc_heldout"), "pixel": ("auroc", "ap")}
KINDS = {
    "method": "ProxyAno",
    "member": "member",
    "committee": "committee",
    "null": "no network",
    "control": "control",
    "shortcut": "shortcut",
    "paper": "paper",
}


@dataclass(frozen=True)
class Cell:
    """Text, the number it sorts by, and whether it is the best of its column."""

    text: str
    sort: float | None = None
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A titled table; ``kinds`` colours the rows (method, control, shortcut, paper, or empty)."""

    title: str
    columns: Sequence[str]
    rows: list[list[Cell]]
    kinds: Sequence[str] = ()
    note: str = ""

    def numeric(self, column: int) -> bool:
        """The column holds numbers and is set to the right."""
        return any(row[column].sort is not None for row in self.rows)


def _cell(record: Record | None, interval: bool, best_value: float | None) -> Cell:
    if record is None:
        return Cell("–")
    value = float(record["value"])
    return Cell(with_interval(record) if interval else number(value), value, value == best_value)


def _grid(
    records: list[Record], level: str, columns: Mapping[tuple[str, str], str], name: str, interval: Sequence[str]
) -> Table:
    """Scores as rows, (metric, subset) as columns, ordered by the first column within each kind."""
    cells: dict[tuple[str, str], dict[tuple[str, str], Record]] = {}
    for record in find(records, level=level):
        key = record["metric"], record["subset"]
        if key in columns:
            cells.setdefault((record["method"], record["score"]), {})[key] = record
    first = next(iter(columns))
    order = {"committee": 0, "method": 1, "member": 2, "null": 3, "control": 4, "shortcut": 5}
    rows = sorted(
        cells, key=lambda row: (order[kind(row[0])], -(cells[row][first]["value"] if first in cells[row] else 0.0))
    )
    tops = {}
    for key in columns:
        values = [found[key]["value"] for row, found in cells.items() if key in found and kind(row[0]) != "shortcut"]
        lowest = key[0] == "false_alarm_rate"
        tops[key] = (min if lowest else max)(values, default=None)
    table = [
        [Cell(title(row[0])), Cell("" if row[1] == "value" else row[1]), Cell(KINDS[kind(row[0])])]
        + [
            _cell(cells[row].get(key), key[0] in interval, None if key[0] == "false_alarm_rate" else tops[key])
            for key in columns
        ]
        for row in rows
    ]
    head = ("method", "score", "kind", *columns.values())
    return Table(title=name, columns=head, rows=table, kinds=[kind(row[0]) for row in rows])


def _with_paper(table: Table, dataset: str, level: str, metrics: Sequence[str]) -> Table:
    """The paper's own rows below; Table I's ACC and F1 stand with the oracles, as its threshold is not stated."""
    paper = PAPER.get(dataset)
    if paper is None or paper.level != level:
        return table
    stated = {"auroc": paper.auroc, "acc_oracle": paper.acc, "f1_oracle": paper.f1, "dice_best": paper.f1}
    lines: list[tuple[str, Mapping[str, float | None]]] = [("Table I", stated)]
    if paper.image_space is not None:
        lines += [
            ("Table V, image space", {"auroc": paper.image_space}),
            ("Table V, latent space", {"auroc": paper.latent_space}),
        ]
    rows = list(table.rows)
    for score, values in lines:
        row = [Cell("ProxyAno in the paper"), Cell(score), Cell(KINDS["paper"])]
        for metric in metrics:
            value = values.get(metric)
            row.append(Cell("–") if value is None else Cell(number(value), value))
        rows.append(row)
    kinds = [*table.kinds, *["paper"] * len(lines)]
    return replace(table, rows=rows, kinds=kinds)


def results(lane: LaneEvaluation, level: str) -> Table | None:
    """Every score of a level with every metric, beside the paper's rows; None where nothing was measured."""
    wanted = IMAGE_COLUMNS if level == "image" else PIXEL_COLUMNS
    present = {r["metric"] for r in find(lane.records, level=level, subset="all")}
    metrics = [name for name in wanted if name in present]
    if not metrics:
        return None
    columns = {(name, "all"): wanted[name] for name in metrics}
    table = _grid(lane.records, level, columns, f"Results, {level} level", WITH_INTERVAL[level])
    return replace(_with_paper(table, lane.dataset, level, metrics), note=NOTES[level])


def by_subset(lane: LaneEvaluation, level: str) -> Table | None:
    """AUROC (and AP of pixels) of each class or lesion type; None where there is only one."""
    names = list(dict.fromkeys(r["subset"] for r in find(lane.records, level=level) if r["subset"] != "all"))
    if not names:
        return None
    metrics = ("auroc",) if level == "image" else ("auroc", "ap")
    columns = {
        (metric, name): f"{name} {'AP' if metric == 'ap' else 'AUROC'}"
        for metric in metrics
        for name in ("all", *names)
    }
    what = "class" if level == "image" else "lesion type"
    return _grid(lane.records, level, columns, f"By {what}", ())


def pasted(lane: LaneEvaluation) -> Table | None:
    """Where maps look when a lesion is pasted on a held-out normal; None where none was."""
    columns = {
        ("peak_found", "medium"): "peak in the lesion, medium [95 %]",
        ("peak_found", "faint"): "faint",
        ("peak_found", "strong"): "strong",
        ("pixel_auroc", "medium"): "pixel AUROC, medium",
        ("auroc", "medium"): "image AUROC, medium",
    }
    if not find(lane.records, level="pasted"):
        return None
    table = _grid(lane.records, "pasted", columns, "Lesions pasted on held-out normals", ("peak_found",))
    note = (
        "Share of copies whose map is highest inside the pasted lesion (or within one pixel of a 64-px training size), "
        "and AUROC of the copies against the untouched held-out normals. Faint is half, strong twice the medium "
        "contrast; kinds are drawn in turn, streaks and squares among them are kinds nothing trains on."
    )
    return replace(table, note=note)


def heldout_by_class(lane: LaneEvaluation) -> Table | None:
    """AUROC of each class against held-out training normals; None without classes or held-out normals."""
    rows = find(lane.records, level="image", metric="auroc_heldout")
    names = list(dict.fromkeys(r["subset"] for r in rows if r["subset"] != "all"))
    if not names:
        return None
    columns = {("auroc_heldout", name): f"{name} AUROC" for name in ("all", *names)}
    return _grid(lane.records, "image", columns, "By class, against held-out training normals", ())


def summary(verdicts: Sequence[Verdict]) -> Table:
    """The compact table on top: one row a data set."""
    columns = (
        "data set",
        "ProxyAno is",
        "ProxyAno’s score",
        "AUROC [95 %]",
        "without the network",
        "best control",
        "AUROC [95 %]",
        "paper",
        "ProxyAno, held-out normals [95 %]",
        "strongest shortcut",
    )
    rows = []
    for v in verdicts:
        paper = PAPER[v.dataset].auroc if v.dataset in PAPER else None
        method, control, heldout = (r["value"] if r else None for r in (v.method, v.control, v.heldout))
        shortcut = f"{title(v.shortcut['method'])} {number(v.shortcut['value'])}" if v.shortcut else "–"
        rows.append(
            [
                Cell(f"{v.title} ({v.level}s)"),
                Cell(v.standing),
                Cell(v.method["score"] if v.method else "–"),
                Cell(with_interval(v.method), method, not v.behind),
                Cell(_without(v.null, v.network), v.null["value"] if v.null else None),
                Cell(full_name(v.control) if v.control else "–"),
                Cell(with_interval(v.control), control, v.behind),
                Cell(number(paper), paper),
                Cell(with_interval(v.heldout), heldout),
                Cell(shortcut),
            ]
        )
    return Table(title="Summary", columns=columns, rows=rows)


def _without(null: Record | None, words: str) -> str:
    """The null's value and what the network adds to it."""
    return number(null["value"] if null else None) + (f", {words}" if words else "")


def pairs(name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> Table:
    """A plain table of texts; numbers are written as they are."""
    cells = [
        [Cell(str(v), float(v) if isinstance(v, int | float) and not isinstance(v, bool) else None) for v in row]
        for row in rows
    ]
    return Table(title=name, columns=columns, rows=cells, note=note)


def counts(lane: LaneEvaluation) -> Table | None:
    """Images here beside the official set."""
    here, official = lane.about("counts"), lane.about("official_counts")
    names = list(dict.fromkeys([*here, *official]))
    rows = [(name, here.get(name, 0), official.get(name, "–")) for name in names]
    return pairs("Images", ("part", "here", "official set"), rows) if rows else None


def thresholds(lane: LaneEvaluation) -> Table | None:
    """Label-free thresholds with the false-alarm rate seen on test normals."""
    rows = []
    for column, value in lane.about("thresholds").items():
        method, score = column.split(":", 1)
        same = {"level": "image", "metric": "false_alarm_rate", "subset": "all", "method": method, "score": score}
        seen = next(iter(find(lane.records, **same)), None)
        rows.append((title(method), "" if score == "value" else score, f"{value:.4g}", with_interval(seen)))
    note = "Threshold = 95 % quantile of normal validation scores, so .050 is expected; no test image was used."
    head = ("method", "score", "threshold", "false-alarm rate on test normals [95 %]")
    return pairs("Label-free thresholds", head, rows, note) if rows else None


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as (dotted name, text) rows."""
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", "–" if value is None else str(value)))
    return rows
