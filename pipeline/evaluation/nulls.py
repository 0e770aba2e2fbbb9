"""The row without the network: the method's own score of I − Î, with Î replaced by an image that no network made.

A method whose score is not above that of the best null owes its result to the statistics around the network.
Legend: n images, H, W px of a canvas.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.metrics import METRICS, auroc
from models.pixel_curve import PixelCurve
from models.scoring import Array, ScoreConfig
from pipeline.detectors.controls.registry import Control
from pipeline.evaluation.records import Estimate, Record, RecordContext, estimate, resampled
from pipeline.evaluation.score_name import NULL, PRIMARY, ScoreName
from pipeline.forms.form import TILE

NULLS = ("similar_mean", "median", "slic")
"""Controls that rebuild an image without a network: similar training normals, median filter, true SLIC proxy."""

WINDOW = 61 / 256
"""Window of the median filter, share of the tile's side: 15 px of 64. A superpixel of the paper's 800 measures 2.3."""


def null_controls(
    trained_at: tuple[int, int], canvas: str, score: ScoreConfig, names: Sequence[str]
) -> Iterator[Control]:
    """Controls that stand in for Î, with the method's own score, at the tile size (rows, cols) of its training.

    Where the method's residual is a fine one they run at full size, with proxies enlarged from that of the training.
    """
    size = (TILE, TILE) if score.fine else trained_at
    for name in names:
        options: dict[str, Any] = {"window": median_window(size)} if name == "median" else {}
        if name == "slic" and score.fine:
            options = {"proxy_size": trained_at}
        yield Control(name=name, canvas=canvas, size=size, score=score, options=options)


def median_window(size: tuple[int, int]) -> int:
    """Px, odd: ``WINDOW`` of the side of a square of the tile's area, at least 3."""
    return max(3, 2 * int(WINDOW * float(np.sqrt(size[0] * size[1])) / 2) + 1)


def root_mean_square(residual: Array, scored: NDArray[np.bool_]) -> Array:
    """Root of the mean square (n,) of residuals (n, H, W) over scored pixels: ‖I − Î‖_F, corrected by area."""
    rows = zip(residual, scored, strict=True)
    return np.array([np.sqrt(np.square(one[mask]).mean()) if mask.any() else 0.0 for one, mask in rows], np.float32)


COMPARED = (("image", PRIMARY), ("image", "image"), ("pixel", PRIMARY), ("pixel", "residual"))
"""(level, score) in which the method is compared with its nulls: the primary score, and the raw ones of the paper."""


def network_records(
    table: pd.DataFrame, curves: Mapping[str, PixelCurve], method: ScoreName, context: RecordContext
) -> list[Record]:
    """Records ``auroc_minus_null``: AUROC of the method's score minus the highest of a null; resamples are paired."""
    records = []
    for level, score in COMPARED:
        name = replace(method, score=score)
        gain = _image_gain(table, name, context) if level == "image" else _pixel_gain(curves, name, context)
        if gain is not None:
            records.append(context.record(name, level, "auroc_minus_null", "all", gain))
    return records


def _null_columns(columns: Sequence[str], score: str) -> list[str]:
    """Columns of that score of the nulls."""
    names = [ScoreName.parse(column) for column in columns if ":" in column]
    return [name.column for name in names if name.kind == NULL and name.score == score]


def _image_gain(table: pd.DataFrame, method: ScoreName, context: RecordContext) -> Estimate | None:
    test = table[table["split"] == "test"]
    labels, columns = test["label"].to_numpy(bool), _null_columns(list(table.columns), method.score)
    if not columns or method.column not in table or len(set(labels)) < 2:
        return None
    best, own = max(columns, key=lambda column: auroc(labels, test[column])), method.column
    weights = context.weights(test["group"].to_numpy())
    one, other = (resampled(METRICS["auroc"], labels, test[name].to_numpy(float), weights) for name in (own, best))
    gain = auroc(labels, test[own]) - auroc(labels, test[best])
    return estimate(gain, one - other, len(test))


def _pixel_gain(curves: Mapping[str, PixelCurve], method: ScoreName, context: RecordContext) -> Estimate | None:
    own = curves.get(method.column)
    nulls = {column: curves[column] for column in _null_columns(list(curves), method.score)}
    if not nulls or own is None or not own.n_images():
        return None
    values = {column: curve.values()["auroc"] for column, curve in nulls.items()}
    best = max(values, key=values.__getitem__)
    gain, drawn = own.values()["auroc"] - values[best], np.empty(0)
    if len(set(own.groups)) > 1:
        one, other = (
            curve.resampled(n=context.resamples, rng=np.random.default_rng(0))["auroc"] for curve in (own, nulls[best])
        )
        drawn = one - other
    return estimate(gain, drawn, own.n_images())
