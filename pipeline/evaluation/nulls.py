"""The row without the network: the method's own score of I − Î, with Î replaced by an image that no network made.

A method whose score is not above that of the best null owes its result to the statistics around the network.
Legend: n images, H, W px of a canvas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.metrics import METRICS, auroc
from models.pixel_curve import PixelCurve
from models.scoring import Array, ScoreConfig, z_score
from pipeline.detectors.controls.registry import Control, proxy_plane, residuals
from pipeline.detectors.inference import trained_size
from pipeline.detectors.scorers import CanvasImages, canvas_images, enlarge, residual_parts, score_canvas
from pipeline.evaluation.controls import RAW_SCALE, TRAIN, control_images
from pipeline.evaluation.records import Estimate, Record, RecordContext, estimate
from pipeline.evaluation.score_name import NULL, PRIMARY, ScoreName
from pipeline.evaluation.scoreboard import SCORED_SPLITS, Scoreboard, absolute
from pipeline.forms.form import TILE

NULLS = ("similar_mean", "median", "slic")
"""Controls that rebuild an image without a network: similar training normals, median filter, true SLIC proxy."""

WINDOW = 61 / 256
"""Window of the median filter, share of the tile's side: 15 px of 64. A superpixel of the paper's 800 measures 2.3."""


def null_scores(scoreboard: Scoreboard, scores: Mapping[str, ScoreConfig], names: Sequence[str]) -> None:
    """Add the scores of nulls: ``standardised`` as the method's, and raw ``image`` and ``residual``.

    A null runs at the size the method was trained at, or at full size where the method's residual is a fine one.
    Copies with pasted lesions have no true proxy, so ``slic`` has no value for them; at full size no null has, as a map
    takes seconds there.
    """
    for canvas, score in scores.items():
        trained_at = trained_size(scoreboard.inputs.checkpoint, canvas)
        size = (TILE, TILE) if score.fine else trained_at
        for name in names:
            options = {"window": median_window(size)} if name == "median" else {}
            control = Control(name=name, canvas=canvas, size=size, score=score, options=options)
            _null_canvas(scoreboard, control, trained_at)


def _null_canvas(scoreboard: Scoreboard, control: Control, trained_at: tuple[int, int]) -> None:
    name, score = ScoreName(kind=NULL, owner=control.name), control.score
    images = _images(scoreboard, control, SCORED_SPLITS, trained_at)
    needs_normals = control.name == "similar_mean" or score.beside > 0
    train = _images(scoreboard, control, TRAIN, trained_at) if needs_normals else images
    raw, scored_residual = residuals(train, images, control)
    norms = root_mean_square(raw, images.scored)
    scoreboard.add(replace(name, score="image"), images.images, z_score(norms, norms[images.rows("val")]))
    scoreboard.add_maps(replace(name, score="residual"), control.canvas, images.images, absolute(raw), RAW_SCALE)
    standardised = score_canvas(images, residual_parts(scored_residual, images, score), score)
    scoreboard.add_standardised(name, control.canvas, standardised)


def median_window(size: tuple[int, int]) -> int:
    """Px, odd: ``WINDOW`` of the side of a square of the tile's area, at least 3."""
    return max(3, 2 * int(WINDOW * float(np.sqrt(size[0] * size[1])) / 2) + 1)


def _images(
    scoreboard: Scoreboard, control: Control, splits: Sequence[str], trained_at: tuple[int, int]
) -> CanvasImages:
    """Images at the control's size, at full size without copies; proxies of the training size are enlarged to it."""
    if not control.score.fine:
        return control_images(scoreboard, control, splits)
    tiles, canvas = scoreboard.inputs.tiles, control.canvas
    whole = canvas_images(tiles, None, canvas=canvas, splits=splits, size=control.size)
    if control.name != "slic":
        return whole
    small = control_images(scoreboard, replace(control, size=trained_at), splits)
    assert small.proxies is not None
    shape = (whole.pixels.shape[2], whole.pixels.shape[3])
    planes = np.stack([enlarge(one, shape) for one in proxy_plane(small.proxies, small.pixels.shape[1])])
    return replace(whole, proxies=planes[:, None])


def root_mean_square(residual: Array, scored: NDArray[np.bool_]) -> Array:
    """Root of the mean square (n,) of residuals (n, H, W) over scored pixels: ‖I − Î‖_F, corrected by area."""
    rows = zip(residual, scored, strict=True)
    return np.array([np.sqrt(np.square(one[mask]).mean()) if mask.any() else 0.0 for one, mask in rows], np.float32)


COMPARED = (("image", PRIMARY), ("image", "image"), ("pixel", PRIMARY), ("pixel", "residual"))
"""(level, score) in which the method is compared with its nulls: the primary score, and the raw ones of the paper."""


def network_records(
    table: pd.DataFrame, curves: Mapping[str, PixelCurve], method: ScoreName, context: RecordContext
) -> list[Record]:
    """Records ``auroc_minus_null``: AUROC of the method's score minus that of the same score of the best null.

    The best null is the one with the highest AUROC on the same images. Resamples draw the same groups for both.
    """
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
    resampled = {name: METRICS["auroc"](labels, test[name].to_numpy(float), weights) for name in (own, best)}
    gain = auroc(labels, test[own]) - auroc(labels, test[best])
    return estimate(gain, resampled[own] - resampled[best], len(test))


def _pixel_gain(curves: Mapping[str, PixelCurve], method: ScoreName, context: RecordContext) -> Estimate | None:
    own, nulls = (
        curves.get(method.column),
        {column: curves[column] for column in _null_columns(list(curves), method.score)},
    )
    if not nulls or own is None or not own.n_images():
        return None
    values = {column: curve.values()["auroc"] for column, curve in nulls.items()}
    best = max(values, key=values.__getitem__)
    gain, resampled = own.values()["auroc"] - values[best], np.empty(0)
    if len(set(own.groups)) > 1:
        one, other = (
            curve.resampled(n=context.resamples, rng=np.random.default_rng(0))["auroc"] for curve in (own, nulls[best])
        )
        resampled = one - other
    return estimate(gain, resampled, own.n_images())
