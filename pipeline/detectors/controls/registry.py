"""The controls by name: from training normals and the images to be scored to parts of a residual, image by image.

Every control is scored by ``scorers.score_canvas`` exactly as a learned method is. ``raw`` controls are shown as they
are, as the paper shows |I − Î|.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from scipy import ndimage

from models.scoring import Array, ScoreConfig
from pipeline.detectors.controls.median import median_residual
from pipeline.detectors.controls.pca import pca_residual
from pipeline.detectors.controls.pixel_classifier import ClassifierConfig, PixelClassifier
from pipeline.detectors.controls.similar_mean import NEIGHBOURS, NormalBank
from pipeline.detectors.neighbour import NeighbourConfig, nearest_residual, patch_neighbour_map
from pipeline.detectors.normal_residuals import NormalResiduals
from pipeline.detectors.scorers import CanvasImages, PartsOf, lead, residual_parts
from pipeline.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control on one canvas; controls of one name are added over their canvases."""

    name: str  # key of CONTROLS
    canvas: str
    size: tuple[int, int]  # rows and columns of a tile, px
    score: ScoreConfig = field(default_factory=ScoreConfig)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in CONTROLS:
            raise ConfigError(f"Control.name is one of {sorted(CONTROLS)}, got {self.name!r}")
        if self.score.beside and self.name not in RESIDUALS:
            known = ", ".join(sorted(RESIDUALS))
            raise ConfigError(f"Control.score.beside: only {known} leave residuals of normals, not {self.name}")


LEAST_ODDS = -6.0
"""Log-odds from which on a pixel of the pixel classifier counts at all; parts begin at 0."""

ControlFunction = Callable[[CanvasImages, CanvasImages, Control], PartsOf]
"""(training normals, images to be scored, control) → parts of row i."""


ResidualFunction = Callable[[CanvasImages, CanvasImages, Control], Array]
"""(training normals, images to be scored, control) → signed residuals (n, H, W). The images may be the normals."""


def _pca(train: CanvasImages, images: CanvasImages, control: Control) -> Array:
    return pca_residual(train.gray, images.gray, train_mask=train.seen, query_mask=images.seen, **control.options)


def _similar_mean(train: CanvasImages, images: CanvasImages, control: Control) -> Array:
    bank = NormalBank(train.gray, train.seen, train.images["group"].to_numpy(object))
    count = int(control.options.get("neighbours", NEIGHBOURS))
    return bank.residual(images.gray, images.scored, images.images["group"].to_numpy(object), count)


def _median(train: CanvasImages, images: CanvasImages, control: Control) -> Array:
    return median_residual(images.gray, int(control.options.get("window", 61)))


def _superpixels(train: CanvasImages, images: CanvasImages, control: Control) -> Array:
    if images.proxies is None:
        raise ConfigError("the control 'slic' needs the proxies of the images")
    residual: Array = images.gray - proxy_plane(images.proxies, images.pixels.shape[1])
    return residual


def proxy_plane(proxies: Array, channels: int) -> Array:
    """(n, H, W) of proxies (n, K, H, W): the channel that ``gray`` is of the tile, or the mean where K differs."""
    plane: Array = lead(proxies) if proxies.shape[1] == channels else proxies.mean(axis=1, dtype=np.float32)
    return plane


RESIDUALS: Mapping[str, ResidualFunction] = {
    "pca": _pca,
    "similar_mean": _similar_mean,
    "median": _median,
    "slic": _superpixels,
}
"""Controls that rebuild an image, and so leave a residual of the training normals as well."""


def residuals(train: CanvasImages, images: CanvasImages, control: Control) -> tuple[Array, Array]:
    """Signed residuals (n, H, W) of a control in ``RESIDUALS``, and what becomes its score.

    The second is the first, or with ``ScoreConfig.beside`` how far it differs from those of similar training normals.
    """
    found = RESIDUALS[control.name](train, images, control)
    if not control.score.beside:
        return found, found
    normals = NormalResiduals.of(train.gray, train.scored, RESIDUALS[control.name](train, train, control))
    return found, normals.unlike(images, found, control.score)


def _rebuilt(train: CanvasImages, images: CanvasImages, control: Control) -> PartsOf:
    return residual_parts(residuals(train, images, control)[1], images, control.score)


def _nearest(train: CanvasImages, images: CanvasImages, control: Control) -> PartsOf:
    residual = nearest_residual(train.gray, images.gray, query_mask=images.scored)
    return residual_parts(residual, images, control.score)


def _patch_neighbour(train: CanvasImages, images: CanvasImages, control: Control) -> PartsOf:
    config = NeighbourConfig(**control.options)
    found = patch_neighbour_map(train.gray, images.gray, train_mask=train.seen, query_mask=images.scored, config=config)
    return residual_parts(found, images, control.score)


def _pixel_classifier(train: CanvasImages, images: CanvasImages, control: Control) -> PartsOf:
    config: ClassifierConfig = control.options.get("config", ClassifierConfig())
    classifier = PixelClassifier(train, config)
    sigma = control.score.sigma

    @cache
    def parts_of(row: int) -> Array:
        odds = classifier.log_odds(images, row)
        smoothed: Array = ndimage.gaussian_filter(odds, sigma) if sigma > 0 else odds
        above: Array = np.maximum(smoothed - LEAST_ODDS, 0)
        return above[None]

    return parts_of


def _canonical(train: CanvasImages, images: CanvasImages, control: Control) -> PartsOf:
    neutral = float(control.options["neutral"]) / 255
    return residual_parts(images.gray - neutral, images, control.score)


def _line_blob(train: CanvasImages, images: CanvasImages, control: Control) -> PartsOf:
    if not control.score.lines:
        raise ConfigError("the control 'line_blob' needs the lengths of its lines: Control.score.lines, got none")
    return _canonical(train, images, control)


def _brightness(train: CanvasImages, images: CanvasImages, control: Control) -> PartsOf:
    return lambda row: images.gray[row][None]


def _darkness(train: CanvasImages, images: CanvasImages, control: Control) -> PartsOf:
    return lambda row: 1 - images.gray[row][None]


def _centre(train: CanvasImages, images: CanvasImages, control: Control) -> PartsOf:
    height, width = images.validity.shape[1:]
    rows, cols = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    closeness = (2 - np.hypot(rows, cols)).astype(np.float32)
    return lambda row: closeness[None]


CONTROLS: dict[str, ControlFunction] = {
    **dict.fromkeys(RESIDUALS, _rebuilt),
    "nearest": _nearest,
    "patch_neighbour": _patch_neighbour,
    "line_blob": _line_blob,
    "pixel_classifier": _pixel_classifier,
    "canonical": _canonical,
    "brightness": _brightness,
    "darkness": _darkness,
    "centre": _centre,
}
RAW = frozenset({"brightness", "darkness", "centre"})
"""Controls whose values are shown as they are: statistics of normals would change what they stand for."""
