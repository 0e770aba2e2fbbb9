"""The table "What the method does": how well it predicts proxies, rebuilds images and repairs alterations."""

from pipeline.evaluation.records import Record, find
from pipeline.evaluation.saved import LaneEvaluation
from pipeline.evaluation.score_name import kind_of
from pipeline.reports.kit.tables import MISSING, Cell, Table, cell, table
from pipeline.reports.kit.words import title

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
"""Columns, in this order where they were measured."""
COUNTS = ("memory_perplexity", "memory_items_used")
"""Metrics written as whole numbers."""
NOTE = (
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


def fidelity(lane: LaneEvaluation) -> Table | None:
    """A row per method, canvas and metric, a column per subset; None where nothing was measured."""
    records = [r for r in find(lane.records, level="reconstruction") if r["metric"] in METRICS]
    if not records:
        return None
    methods = sorted(dict.fromkeys(r["method"] for r in records), key=lambda method: kind_of(method) != "method")
    canvases = list(dict.fromkeys(r["score"] for r in records))
    subsets = [name for name in SUBSETS if any(r["subset"] == name for r in records)]
    found = {(r["method"], r["score"], r["metric"], r["subset"]): r for r in reversed(records)}
    measured = {key[:3] for key in found}
    rows, kinds = [], []
    for method, canvas, metric in ((m, c, of) for m in methods for c in canvases for of in METRICS):
        if (method, canvas, metric) in measured:
            cells = {name: _cell(found.get((method, canvas, metric, name))) for name in subsets}
            rows.append(
                {"method": Cell(title(method)), "canvas": Cell(canvas), "measured": Cell(METRICS[metric])} | cells
            )
            kinds.append(kind_of(method))
    return table("What the method does", rows, kinds=kinds, note=NOTE)


def _cell(record: Record | None) -> Cell:
    if record is None:
        return MISSING
    digits = 0 if record["metric"] in COUNTS else 2
    low, high = record["low"], record["high"]
    interval = "" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return cell(float(record["value"]), f"{record['value']:.{digits}f}{interval}")
