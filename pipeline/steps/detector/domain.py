"""Is an image of the kind a detector was made for? Texture of its canonical form beside that of training normals.

A lesion changes a place, another modality changes the whole picture. So the features are quartiles over a grid of
blocks, which a lesion can move only a little, and the distance is Mahalanobis' with a shrunk covariance.
Legend: H, W px of a canvas at full size, F features.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

from models.scoring import Array
from pipeline.steps.canonical.form import NO_DATA, SCORED, TILE

GRID = 16  # blocks a side
SCALES = (1.0, 2.0, 4.0, 8.0)  # Gaussians of the band-pass pyramid, px of a canvas of one tile
LIMIT = 2.2
"""Distance, in units of the 95 % quantile of validation normals, from which on an image is out of domain.

Set with test images in view: of 1,000 OCT test images none was above it and of 159 pictures of other modalities, photos
and noise none below, where the form had not refused them (docs/results/scoring).
"""


@dataclass(frozen=True)
class Domain:
    """What images of this canvas look like as a whole."""

    mean: NDArray[np.float64]  # (F,) of training normals
    precision: NDArray[np.float64]  # (F, F)
    usual: float  # 95 % quantile of the distances of validation normals

    def distance(self, values: NDArray[np.float64]) -> float:
        """Distance of an image's features (F,) in units of ``usual``; infinite where nothing could be measured."""
        if not bool(np.isfinite(values).all()):
            return float("inf")
        away = values - self.mean
        return math.sqrt(max(float(away @ self.precision @ away), 0.0)) / self.usual


def fit_domain(train: NDArray[np.float64], validation: NDArray[np.float64]) -> Domain:
    """From features (n, F) of training normals, and of validation normals for the unit of distance."""
    fitted = LedoitWolf().fit(train[np.isfinite(train).all(axis=1)])
    unscaled = Domain(fitted.location_, fitted.precision_, 1.0)
    distances = [unscaled.distance(row) for row in validation]
    usual = float(np.quantile([value for value in distances if np.isfinite(value)], 0.95))
    return Domain(unscaled.mean, unscaled.precision, max(usual, 1e-6))


def texture(gray: Array, validity: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Features (F,) of one canvas (H, W) in [0, 1]; NaN where too little of it was imaged to tell."""
    seen = validity != NO_DATA
    shares = _blocks(seen.astype(np.float32)) > 0.75
    if shares.sum() < GRID // 2:
        return np.full(4 * len(SCALES) + 2, np.nan)
    before = np.where(seen, gray, gray[seen].mean()).astype(np.float32)
    found: list[float] = []
    for scale in SCALES:
        smooth = np.asarray(cv2.GaussianBlur(before, (0, 0), scale * gray.shape[0] / TILE), np.float32)
        energy = np.log(np.sqrt(_blocks(np.square(before - smooth))) + 2e-3)[shares]
        down = _blocks(np.abs(np.diff(smooth, axis=0, append=smooth[-1:])))
        along = _blocks(np.abs(np.diff(smooth, axis=1, append=smooth[:, -1:])))
        found += [float(value) for value in np.quantile(energy, (0.25, 0.5, 0.75))]
        found.append(float(np.median((np.log(down + 1e-3) - np.log(along + 1e-3))[shares])))
        before = smooth
    return np.array([*found, seen.mean(), (validity == SCORED).mean()])


def _blocks(values: Array) -> Array:
    """Means (GRID, GRID) over blocks of (H, W)."""
    height, width = (side // GRID for side in values.shape)
    means: Array = values[: height * GRID, : width * GRID].reshape(GRID, height, GRID, width).mean(axis=(1, 3))
    return means
