"""The evaluation report's tables: scores with every metric, by class, on pasted lesions, what the method does, summary.

``summary_table`` is the summary on the terminal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rich import table as terminal
from rich.markup import escape

from pipeline.evaluation.records import Record, find
from pipeline.evaluation.saved import LaneEvaluation
from pipeline.evaluation.score_name import kind_of
from pipeline.reports.evaluation.verdict import Verdict, judge, network_words
from pipeline.reports.kit.paper import LEVELS, PAPER, TABLE_V
from pipeline.reports.kit.scores import IMAGE_COLUMNS, KINDS, NOTES, PIXEL_COLUMNS, head, score_rows, score_table
from pipeline.reports.kit.tables import MISSING, Cell, Table, cell, pairs, record_cell
from pipeline.reports.kit.words import column_title, number, record_title, title, with_interval

WITH_INTERVAL = dict.fromkeys(("image", "volume"), ("auroc", "auroc_heldout")) | {"pixel": ("auroc", "ap")}
PASTED_COLUMNS: Mapping[tuple[str, str], str] = {
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
FIDELITY = {  # metric → its row
    "proxy_r2": "proxy: P̂ against P, R²",
    "proxy_ceiling_r2": "ceiling: P against I, R²",
    "reconstruction_r2": "reconstruction: Î against I, R²",
    "repair": "repair of what was altered",
    "lesion_kept": "lesions kept: Î against I, R²",
    "memory_perplexity": "perplexity of the memory",
    "memory_items_used": "memory items used",
}
OF_IMAGES = ("validation normals", "test normals", "holdout normals", "test abnormal", "test lesions")
SUBSETS = (*OF_IMAGES, "paper patch", "streak", "square")  # columns of ``fidelity`` in this order, where measured
FIDELITY_NOTE = (
    "Values with their 95 % intervals. R² is 1 for a perfect estimate, 0 for one as good as the image's mean, negative "
    "for a worse one. It is the mean over images, inside the scored area, at the size the networks see. "
    "Proxy: how much of the true superpixel image P the predicted proxy P̂ explains. "
    "Ceiling: how much of the image I the true proxy explains; the rest is lost before any network. "
    "Reconstruction: how much of I the reconstruction Î explains; below .5 it hardly resembles the image. "
    "Repair: the share of an alteration of validation normals that the reconstruction of the altered image undoes; "
    "1 is repaired, 0 is as far from the untouched image as the altered one, negative is farther. "
    "The paper's patch is a piece of another normal image; nothing is trained on streaks and squares. "
    "Lesions kept: R² over all lesion pixels of the test images together; where it is high, Î shows the lesions too, "
    "and the residual cannot. "
    "Perplexity: how many memory items would be in use if all were used alike. "
    "Items used: how many are nearest to any place of an image."
)


def results(lane: LaneEvaluation, level: str) -> Table | None:
    """Every score of a level with every metric, then the paper's rows; None where nothing was measured."""
    wanted = PIXEL_COLUMNS if level == "pixel" else IMAGE_COLUMNS
    measured = {r["metric"] for r in find(lane.records, level=level, subset="all")}
    columns = {(metric, "all"): column for metric, column in wanted.items() if metric in measured}
    if not columns:
        return None
    paper = [
        head("ProxyAno in the paper", score, KINDS["paper"])
        | {column: cell(values.get(metric)) for (metric, _), column in columns.items()}
        for score, values in _paper_rows(lane.dataset, level)
        if not lane.about("drawn")
    ]
    rows = score_rows(lane.records, level, columns, WITH_INTERVAL[level])
    return score_table(f"Results, {level} level", rows, paper, NOTES[level])


def _paper_rows(dataset: str, level: str) -> list[tuple[str, Mapping[str, float]]]:
    """The paper's (table, metrics); its ACC and F1 are taken as oracles, because no threshold is stated."""
    if LEVELS.get(dataset) != level:
        return []
    auc, acc, f1 = PAPER[dataset]
    stated = {"auroc": auc, "acc_oracle": acc, "f1_oracle": f1, "dice_best": f1}
    spaces = zip(("image", "latent"), TABLE_V.get(dataset, ()), strict=False)
    return [("Table I", stated), *((f"Table V, {space} space", {"auroc": auroc}) for space, auroc in spaces)]


def by_class(lane: LaneEvaluation, level: str, *, heldout: bool = False) -> Table | None:
    """AUROC (and AP of pixels) of each class or lesion type; None where there is only one.

    ``heldout``: AUROC against held-out training normals.
    """
    title, metrics = "By class", {"auroc": "AUROC"}
    if level == "pixel":
        title, metrics = "By lesion type", {"auroc": "AUROC", "ap": "AP"}
    if heldout:
        title, metrics = "By class, against held-out training normals", {"auroc_heldout": "AUROC"}
    measured = [r["subset"] for r in find(lane.records, level=level) if r["metric"] in metrics]
    names = dict.fromkeys(["all", *measured])
    columns = {(metric, name): f"{name} {word}" for metric, word in metrics.items() for name in names}
    return score_table(title, score_rows(lane.records, level, columns)) if len(names) > 1 else None


def fidelity(lane: LaneEvaluation) -> Table | None:
    """How well proxies are predicted, images rebuilt and alterations repaired; None where nothing was measured."""
    found: dict[tuple[str, str, str], dict[str, Cell]] = {}
    for record in find(lane.records, level="reconstruction"):
        if record["metric"] in FIDELITY:
            cells = found.setdefault((record["method"], record["score"], record["metric"]), {})
            cells.setdefault(record["subset"], _fidelity_cell(record))
    if not found:
        return None
    subsets = [name for name in SUBSETS if any(name in cells for cells in found.values())]
    canvases, metrics = list(dict.fromkeys(canvas for _, canvas, _ in found)), list(FIDELITY)
    methods = sorted(dict.fromkeys(method for method, *_ in found), key=lambda method: kind_of(method) != "method")
    order = sorted(found, key=lambda key: (methods.index(key[0]), canvases.index(key[1]), metrics.index(key[2])))
    rows = [
        {"method": Cell(title(method)), "canvas": Cell(canvas), "measured": Cell(FIDELITY[metric])}
        | {name: found[method, canvas, metric].get(name, MISSING) for name in subsets}
        for method, canvas, metric in order
    ]
    return Table.of("What the method does", rows, kinds=[kind_of(method) for method, *_ in order], note=FIDELITY_NOTE)


def _fidelity_cell(record: Record) -> Cell:
    digits = 0 if record["metric"] in ("memory_perplexity", "memory_items_used") else 2
    low, high = record["low"], record["high"]
    interval = "" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return cell(float(record["value"]), f"{record['value']:.{digits}f}{interval}")


def pasted(lane: LaneEvaluation) -> Table | None:
    """Where maps look when a lesion is pasted on a held-out normal; None where none was."""
    rows = score_rows(lane.records, "pasted", PASTED_COLUMNS, ("peak_found",))
    return score_table("Lesions pasted on held-out normals", rows, note=PASTED_NOTE) if rows else None


def volumes(lane: LaneEvaluation) -> Table | None:
    """A row for each test and held-out volume; None where there are none."""
    rows = lane.about("volumes")
    if not rows:
        return None
    note = f"By {column_title(lane.about('volumes_by'))}. Rates are conformal, over the normal validation volumes."
    return pairs("Volumes", list(rows[0]), [list(row.values()) for row in rows], note)


def volume_counts(lane: LaneEvaluation) -> Table | None:
    """Volumes by class, empty slices, and volumes unlike the rest; None where there are no volumes."""
    found = lane.about("volume_counts")
    if not found:
        return None
    rows = [(f"{klass} volumes", n) for klass, n in found["volumes"].items()]
    rows += [(name, found[name]) for name in ("slices", "empty slices")] + list(found["odd"].items())
    return pairs("Volumes that were read", ("what", "count, or how a volume differs from the rest"), rows)


def counts(lane: LaneEvaluation) -> Table | None:
    """Images here and in the official set."""
    here, official = lane.about("counts"), {} if lane.about("drawn") else lane.about("official_counts")
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


def summary(verdicts: Sequence[Verdict]) -> Table:
    """The compact table on top: one row per data set."""
    columns = [
        "data set",
        "ProxyAno is",
        "ProxyAno’s score",
        "AUROC [95 %]",
        "test images",
        "at the label-free threshold",
    ]
    columns += ["without the network", "best control", "AUROC [95 %]", "paper", "ProxyAno, held-out normals [95 %]"]
    columns += ["strongest shortcut"]
    rows = []
    for v in verdicts:
        network = network_words(v.gain)
        without = number(v.null["value"] if v.null else None) + (f", {network}" if network else "")
        found, alarms = (None if one is None else one["value"] for one in (v.sensitivity, v.false_alarms))
        shortcut = f"{title(v.shortcut['method'])} {number(v.shortcut['value'])}" if v.shortcut else "–"
        rows.append(
            [
                Cell(f"{v.title} ({v.level}s)"),
                Cell(v.standing),
                Cell(v.method["score"] if v.method else "–"),
                replace(record_cell(v.method, intervals=True), strong=not v.behind),
                Cell(f"{v.tested[0]} normal, {v.tested[1]} abnormal" if v.tested else "–"),
                Cell(f"{number(found)} found, {number(alarms)} false alarms" if found is not None else "–", found),
                Cell(without, v.null["value"] if v.null else None),
                Cell(record_title(v.control) if v.control else "–"),
                replace(record_cell(v.control, intervals=True), strong=v.behind),
                cell(v.paper),
                record_cell(v.heldout, intervals=True),
                Cell(shortcut),
            ]
        )
    if verdicts and all(v.drawn for v in verdicts):
        place = columns.index("paper")
        columns, rows = [*columns[:place], *columns[place + 1 :]], [[*row[:place], *row[place + 1 :]] for row in rows]
    return Table(title="Summary", columns=columns, rows=rows)


def summary_table(records: list[Record], *, drawn: bool = False) -> terminal.Table:
    """The summary on the terminal, at most 100 columns wide: a row per data set, below them what the network adds.

    ``drawn``: the images are those of the built-in sample; the paper's figures are left out.
    """
    presets = ", ".join(sorted({r["preset"] for r in records}))
    table = terminal.Table(
        title=f"evaluation_report, preset {presets}", title_justify="left", caption_justify="left", caption_style=""
    )
    names = ["data set", "ProxyAno’s score", "AUROC [95 %]", "without the network", "best control"]
    for name in names if drawn else [*names, "paper"]:
        narrow = name.startswith("AUROC") or name in ("paper", "ProxyAno’s score")
        right = name.startswith(("AUROC", "paper", "without"))
        table.add_column(escape(name), justify="right" if right else "left", no_wrap=narrow)
    said = []
    for v in [judge(records, dataset) for dataset in dict.fromkeys(r["dataset"] for r in records)]:
        control = f"{title(v.control['method'])} {number(v.control['value'])}" if v.control else "–"
        table.add_row(
            f"{v.dataset} ({v.level})",
            str(v.method["score"]) if v.method else "–",
            escape(with_interval(v.method)),
            number(v.null["value"] if v.null else None),
            control + (" ← ahead" if v.behind else ""),
            *([] if drawn else [number(v.paper)]),
        )
        said += [escape(f"{v.dataset}: {v.network_sentence}")] if v.network_sentence else []
    table.caption = "\n".join(said) or None
    return table
