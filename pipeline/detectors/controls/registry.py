"""Controls by name: from training normals and images to the parts of each image's residual.

``scorers.score_canvas`` scores a control exactly as it scores a learned method. Controls in ``RAW`` are not
standardised. Legend: n images, H, W px of a canvas.
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
from pipeline.detectors.controls.similar_mean import similar_mean_residual
from pipeline.detectors.neighbour import NeighbourConfig, nearest_residual, patch_neighbour_map
from pipeline.detectors.normal_residuals import NormalResiduals
from pipeline.detectors.scorers import CanvasImages, PartsOf, lead, residual_parts
from pipeline.errors import ConfigError

LEAST_ODDS = -6.0
"""Log-odds of the pixel classifier that become 0, the smallest value of a part."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control on one canvas; controls of one name are added over their canvases."""

    name: str  # key of CONTROLS
    canvas: str
    size: tuple[int, int]  # rows and columns of a tile, px
    score: ScoreConfig = field(default_factory=ScoreConfig)
    options: Mapping[str, Any] = field(default_factory=dict)  # arguments of the control, and ``raw`` for its evaluation

    def __post_init__(self) -> None:
        if self.name not in CONTROLS:
            raise ConfigError(f"Control.name is one of {sorted(CONTROLS)}, got {self.name!r}")
        if self.score.beside and self.name not in RESIDUALS:
            known = ", ".join(sorted(RESIDUALS))
            raise ConfigError(f"Control.score.beside: only {known} give residuals of normals, not {self.name}")
        if self.name == "line_blob" and not self.score.lines:
            raise ConfigError("the control 'line_blob' needs the lengths of its lines: Control.score.lines, got none")


def superpixel_residual(train: CanvasImages, images: CanvasImages) -> Array:
    """Signed difference (n, H, W) of images from their true superpixel proxies."""
    if images.proxies is None:
        raise ConfigError("the control 'slic' needs the proxies of the images")
    return images.gray - proxy_plane(images.proxies, images.pixels.shape[1])


def proxy_plane(proxies: Array, channels: int) -> Array:
    """(n, H, W) of proxies (n, K, H, W): the channel that ``gray`` takes from the tile, or the mean if K differs."""
    return lead(proxies) if proxies.shape[1] == channels else proxies.mean(axis=1, dtype=np.float32)


def neighbour_difference(train: CanvasImages, images: CanvasImages, **options: Any) -> Array:
    """``patch_neighbour_map`` of images; ``options`` are those of ``NeighbourConfig``."""
    return patch_neighbour_map(train.gray, images.gray, train.seen, images.scored, NeighbourConfig(**options))


def neutral_difference(train: CanvasImages, images: CanvasImages, neutral: float) -> Array:
    """Signed difference (n, H, W) of images from the neutral gray level, 0 to 255, of their form."""
    return images.gray - neutral / 255


@cache
def _closeness(height: int, width: int) -> Array:
    """Closeness (H, W) to the centre of the canvas."""
    rows, cols = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.asarray(2 - np.hypot(rows, cols), np.float32)


RESIDUALS: Mapping[str, Callable[..., Array]] = {
    "pca": pca_residual,
    "similar_mean": similar_mean_residual,
    "median": lambda train, images, window=61: median_residual(images.gray, window),
    "slic": superpixel_residual,
}
"""Reconstructing controls: (training normals, images, **options) → signed residuals (n, H, W).

The images may be the training normals.
"""
DIFFERENCES: Mapping[str, Callable[..., Array]] = {
    "nearest": lambda train, images: nearest_residual(train.gray, images.gray, images.scored),
    "patch_neighbour": neighbour_difference,
    "line_blob": neutral_difference,
    "canonical": neutral_difference,
}
"""Controls that reconstruct nothing: (training normals, images, **options) → differences (n, H, W)."""
MAPS = {**RESIDUALS, **DIFFERENCES}
VALUES: Mapping[str, Callable[[CanvasImages, int], Array]] = {
    "brightness": lambda images, row: images.gray[row],
    "darkness": lambda images, row: 1 - images.gray[row],
    "centre": lambda images, row: _closeness(*images.validity.shape[1:]),
}
"""Controls of one image: (images, row) → values (H, W)."""
RAW = frozenset(VALUES)
"""Controls whose values are measured directly: statistics of normals would change their meaning."""


def residuals(train: CanvasImages, images: CanvasImages, control: Control) -> tuple[Array, Array]:
    """Signed residuals (n, H, W) of a control in ``MAPS``, and the maps (n, H, W) that are scored.

    The maps are the residuals themselves, or with ``ScoreConfig.beside`` their difference from those of similar
    training normals.
    """
    residual_of = MAPS[control.name]
    options = {name: value for name, value in control.options.items() if name != "raw"}
    found = residual_of(train, images, **options)
    if not control.score.beside:
        return found, found
    normals = NormalResiduals.of(train, residual_of(train, train, **options))
    return found, normals.difference(images, found, control.score)


ControlFunction = Callable[[CanvasImages, CanvasImages, Control], PartsOf]
"""(training normals, images to be scored, control) → parts of row i."""


def _of_map(train: CanvasImages, images: CanvasImages, control: Control) -> PartsOf:
    return residual_parts(residuals(train, images, control)[1], images, control.score)


def _of_values(train: CanvasImages, images: CanvasImages, control: Control) -> PartsOf:
    value_of = VALUES[control.name]
    return lambda row: value_of(images, row)[None]


def _pixel_classifier(train: CanvasImages, images: CanvasImages, control: Control) -> PartsOf:
    classifier = PixelClassifier(train, control.options.get("config", ClassifierConfig()))
    sigma = control.score.sigma

    @cache
    def parts_of(row: int) -> Array:
        odds = classifier.log_odds(images, row)
        smoothed: Array = ndimage.gaussian_filter(odds, sigma) if sigma > 0 else odds
        above: Array = np.maximum(smoothed - LEAST_ODDS, 0)
        return above[None]

    return parts_of


CONTROLS: Mapping[str, ControlFunction] = {
    **dict.fromkeys(MAPS, _of_map),
    **dict.fromkeys(VALUES, _of_values),
    "pixel_classifier": _pixel_classifier,
}
