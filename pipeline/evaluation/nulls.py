"""The row without the network: the method's own score of I − Î, with Î replaced by an image that no network made.

A method whose score is not above that of the best null owes its result to the statistics around the network.
Legend: n images, H, W px of a canvas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.comparison import Difference, of_resamples, paired_difference
from models.metrics import auroc
from models.pixel_curve import PixelCurve
from models.scoring import Array, ScoreConfig, z_score
from pipeline.detectors.controls.registry import Control, proxy_plane, residuals
from pipeline.detectors.inference import trained_size
from pipeline.detectors.scorers import CanvasImages, canvas_images, enlarge, residual_parts, score_canvas
from pipeline.evaluation.controls import RAW_SCALE
from pipeline.evaluation.records import Record, record
from pipeline.evaluation.score_name import METHOD, NULL, PRIMARY, ScoreName
from pipeline.evaluation.scoreboard import ASKED, Scoreboard
from pipeline.forms.form import TILE

NULLS = ("similar_mean", "median", "slic")
"""Controls that rebuild an image without a network: similar training normals, median filter, true SLIC proxy."""

TRAIN = ("train",)

WINDOW = 61 / 256
"""Window of the median filter, share of the tile's side: 15 px of 64. A superpixel of the paper's 800 measures 2.3."""


def null_scores(board: Scoreboard, scores: Mapping[str, ScoreConfig], names: Sequence[str]) -> None:
    """Columns ``null_<name>:standardised``, as the method's, and its raw row: ``:image`` and the pixel ``:residual``.

    A null runs at the size the method was trained at, or at full size where the method's residual is a fine one.
    Copies with pasted lesions have no true proxy, so ``slic`` has no value for them; at full size no null has, as a map
    takes seconds there.
    """
    for canvas, score in scores.items():
        for name in names:
            _add(board, canvas, score, name)


def _add(board: Scoreboard, canvas: str, score: ScoreConfig, name: str) -> None:
    trained_at = trained_size(board.inputs.checkpoint, canvas)
    size = (TILE, TILE) if score.fine else trained_at
    options = {"window": median_window(size)} if name == "median" else {}
    control = Control(name=name, canvas=canvas, size=size, score=score, options=options)
    images = _images(board, control, ASKED, trained_at)
    asked = name == "similar_mean" or score.beside > 0
    train = _images(board, control, TRAIN, trained_at) if asked else images  # the others look at no normal
    raw, steady = residuals(train, images, control)
    table = images.images

    def column(score_name: str) -> str:
        return ScoreName(kind=NULL, owner=name, score=score_name).column

    norms = root_mean_square(raw, images.scored)
    board.add(column("image"), table, z_score(norms, norms[images.rows("val")]))
    board.pixels(column("residual"), canvas, table, partial(_size_of, raw), RAW_SCALE)
    standardised = score_canvas(images, residual_parts(steady, images, score), score)
    board.standardised(column(PRIMARY), canvas, standardised)


def median_window(size: tuple[int, int]) -> int:
    """Px, odd: ``WINDOW`` of the side of a square of the tile's area, at least 3."""
    return max(3, 2 * int(WINDOW * float(np.sqrt(size[0] * size[1])) / 2) + 1)


def _images(board: Scoreboard, control: Control, splits: Sequence[str], trained_at: tuple[int, int]) -> CanvasImages:
    """Images at the control's size; for ``slic`` with their proxies at the training size, enlarged."""
    tiles, canvas, size = board.inputs.tiles, control.canvas, control.size
    if control.name != "slic":
        more = None if control.score.fine or splits == TRAIN else board.tiles_pasted(canvas)
        return canvas_images(tiles, None, canvas=canvas, splits=splits, size=size, more=more)
    small = canvas_images(tiles, board.inputs.proxies, canvas=canvas, splits=splits, size=trained_at)
    if size == trained_at or small.proxies is None:
        return small
    whole = canvas_images(tiles, None, canvas=canvas, splits=splits, size=size)
    shape = (whole.pixels.shape[2], whole.pixels.shape[3])
    planes = np.stack([enlarge(one, shape) for one in proxy_plane(small.proxies, small.pixels.shape[1])])
    return replace(whole, proxies=planes[:, None])


def root_mean_square(residual: Array, scored: NDArray[np.bool_]) -> Array:
    """Root of the mean square (n,) of residuals (n, H, W) over scored pixels: ‖I − Î‖_F, corrected by area."""
    rows = zip(residual, scored, strict=True)
    return np.array([np.sqrt(np.square(one[mask]).mean()) if mask.any() else 0.0 for one, mask in rows], np.float32)


def _size_of(residual: Array, row: int) -> Array:
    """|I − Î| (Eq. 14)."""
    values: Array = np.abs(residual[row])
    return values


def network_records(
    table: pd.DataFrame, curves: Mapping[str, PixelCurve], method: str, *, head: Mapping[str, Any], n_boot: int
) -> list[Record]:
    """Records ``auroc_minus_null``: the method's primary AUROC minus that of the best null, image and pixel level.

    The best null is the one with the highest AUROC on the same images. Resamples draw the same groups for both.
    """
    found = {"image": _of_images(table, method, n_boot), "pixel": _of_pixels(curves, method, n_boot)}
    shared = {**head, "method": method, "score": PRIMARY, "metric": "auroc_minus_null", "subset": "all"}
    return [
        record(shared | {"level": level}, (gain.value, gain.low, gain.high, count))
        for level, (gain, count) in ((level, one) for level, one in found.items() if one is not None)
    ]


def _nulls(columns: Sequence[str]) -> list[str]:
    """Columns of the nulls that are compared with the method's primary score."""
    names = [ScoreName.parse(column) for column in columns if ":" in column]
    return [name.column for name in names if name.kind == NULL and name.score == PRIMARY]


def _of_images(table: pd.DataFrame, method: str, n_boot: int) -> tuple[Difference, int] | None:
    test = table[table["split"] == "test"]
    labels, own = test["label"].to_numpy(), ScoreName(kind=METHOD, owner=method).column
    names = _nulls([str(name) for name in table.columns])
    if not names or own not in table or len(set(labels)) < 2:
        return None
    best = max(names, key=lambda name: auroc(labels, test[name]))
    groups = test["group"].to_numpy()
    gain = paired_difference(labels, test[best], test[own], groups, n=n_boot, rng=np.random.default_rng(0))
    return _certain(gain, len(set(groups))), len(test)


def _of_pixels(curves: Mapping[str, PixelCurve], method: str, n_boot: int) -> tuple[Difference, int] | None:
    names, own = _nulls(list(curves)), curves.get(ScoreName(kind=METHOD, owner=method).column)
    if not names or own is None or not own.n_images():
        return None
    values = {name: curves[name].values()["auroc"] for name in names}
    best = max(names, key=values.__getitem__)

    def drawn(curve: PixelCurve) -> NDArray[np.float64]:
        return curve.resampled(n=n_boot, rng=np.random.default_rng(0))["auroc"]

    gain = of_resamples(own.values()["auroc"] - values[best], drawn(curves[best]), drawn(own))
    return _certain(gain, len(set(own.groups))), own.n_images()


def _certain(gain: Difference, groups: int) -> Difference:
    """Without an interval where there is a single group to draw."""
    return gain if groups > 1 else replace(gain, low=float("nan"), high=float("nan"))
