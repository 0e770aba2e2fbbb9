"""The table "What the method does": how well it predicts proxies, rebuilds images and repairs what was altered."""

from collections.abc import Sequence

from pipeline.evaluation.records import Record, find, kind
from pipeline.evaluation.saved import LaneEvaluation
from pipeline.reports.kit.tables import Cell, Table
from pipeline.reports.kit.verdict import title

METRICS = {
    "proxy_r2": "proxy: P̂ against P, R²",
    "proxy_ceiling_r2": "ceiling: P against I, R²",
    "reconstruction_r2": "reconstruction: Î against I, R²",
    "repair": "repair of what was altered",
    "lesion_kept": "lesions kept: Î against I, R²",
    "memory_perplexity": "perplexity of the memory",
    "memory_items_used": "memory items used",
}
"""Metric → its row."""

SUBSETS = (
    "validation normals",
    "test normals",
    "holdout normals",
    "test abnormal",
    "test lesions",
    "paper patch",
    "streak",
    "square",
)
"""Columns, in this order where they are there."""

WHOLE = ("memory_perplexity", "memory_items_used")
"""Metrics that are counts and are written as whole numbers."""

NOTE = (
    "Values with their 95 % intervals. R² is 1 for a perfect estimate, 0 for one as good as the image's mean, negative "
    "for a worse one. It is the mean over images, inside the scored area, at the size the networks see. "
    "Proxy: how much of the true superpixel image P the predicted proxy P̂ explains. "
    "Ceiling: how much of the image I the true proxy explains; the rest is lost before any network. "
    "Reconstruction: how much of I the reconstruction Î explains; below .5 it is hardly an image of the normal. "
    "Repair: the share of an alteration of validation normals that the reconstruction of the altered image undoes; "
    "1 is repaired, 0 is as far from the untouched image as the altered one, negative is farther. "
    "The paper's patch is a piece of another normal image; streaks and squares are kinds that nothing trains on. "
    "Lesions kept: R² over all lesion pixels of the test images together; where it is high, Î shows the lesions too, "
    "and the residual cannot. "
    "Perplexity: how many memory items would be in use if all were used alike; items used: how many any place takes."
)


def fidelity(lane: LaneEvaluation) -> Table | None:
    """Rows are method, canvas and metric, columns subsets, with 95 % intervals; None where nothing was measured."""
    records = [r for r in find(lane.records, level="reconstruction") if r["metric"] in METRICS]
    if not records:
        return None
    columns = [name for name in SUBSETS if any(r["subset"] == name for r in records)]
    order = list(METRICS)
    keys = dict.fromkeys((r["method"], r["score"], r["metric"]) for r in records)
    owners = list(dict.fromkeys(method for method, *_ in keys))
    owners.sort(key=lambda method: kind(method) != "method")
    canvases = list(dict.fromkeys(canvas for _, canvas, _ in keys))
    rows = sorted(keys, key=lambda key: (owners.index(key[0]), canvases.index(key[1]), order.index(key[2])))
    cells = [
        [Cell(title(method)), Cell(canvas), Cell(METRICS[metric])]
        + [_cell(_found(records, (method, canvas, metric), subset)) for subset in columns]
        for method, canvas, metric in rows
    ]
    head = ("method", "canvas", "measured", *columns)
    return Table(
        title="What the method does", columns=head, rows=cells, kinds=[kind(row[0]) for row in rows], note=NOTE
    )


def _found(records: Sequence[Record], key: tuple[str, str, str], subset: str) -> Record | None:
    same = (r for r in records if (r["method"], r["score"], r["metric"]) == key and r["subset"] == subset)
    return next(same, None)


def _cell(record: Record | None) -> Cell:
    if record is None:
        return Cell("–")
    value = float(record["value"])
    digits = 0 if record["metric"] in WHOLE else 2
    low, high = record["low"], record["high"]
    interval = "" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return Cell(f"{value:.{digits}f}{interval}", value)
