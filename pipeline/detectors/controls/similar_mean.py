"""The mean of the most similar training normals: a reconstruction that needs no network."""

import numpy as np
from numpy.typing import NDArray

from models.scoring import Array
from pipeline.detectors.scorers import CanvasImages
from pipeline.detectors.similar import area_means, covered, ranking
from pipeline.errors import ConfigError

NEIGHBOURS = 12
"""Training normals that are averaged."""

RANKED_AT = 128
"""Px of the longer side at which images are compared. Larger canvases are sampled down to bound memory."""

BLOCK = 256
"""Queries that are ranked at once."""


def similar_mean_residual(train: CanvasImages, images: CanvasImages, count: int = NEIGHBOURS) -> Array:
    """Signed difference (m, H, W) of ``images`` from the mean of their ``count`` nearest training normals.

    Nearest by squared distance inside the scored area, normals of an image's own group left out. The difference is 0
    where none of the nearest was imaged. ``ConfigError`` if every normal is of the image's group or the sizes differ.
    """
    if train.gray.shape[1:] != images.gray.shape[1:]:
        raise ConfigError(f"similar mean: expected normals of {images.gray.shape[1:]} px, got {train.gray.shape}")
    normal_group, group = (each.images["group"].to_numpy(object) for each in (train, images))
    most = count + int(np.unique(normal_group.astype(str), return_counts=True)[1].max())
    shape = _compared(train.gray.shape[1], train.gray.shape[2])
    bank, residual = area_means(train.gray, shape), np.empty(images.gray.shape, np.float32)
    for start in range(0, len(residual), BLOCK):
        rows = slice(start, start + BLOCK)
        query, asked = area_means(images.gray[rows], shape), covered(images.scored[rows], shape)
        for row, order in enumerate(ranking(bank, query, asked, most), start=start):
            nearest = order[normal_group[order] != group[row]][:count]
            if not len(nearest):
                raise ConfigError(f"similar mean: no training normal of another group than {group[row]!r}")
            residual[row] = images.gray[row] - _mean(train, nearest, images.gray[row])
    return residual


def _mean(train: CanvasImages, rows: NDArray[np.int64], otherwise: Array) -> Array:
    """Mean (H, W) over the normals that show a pixel; ``otherwise`` where none does."""
    total, seen = np.zeros(otherwise.shape, np.float32), np.zeros(otherwise.shape, np.float32)
    for row in rows:
        total += np.where(train.seen[row], train.gray[row], 0)
        seen += train.seen[row]
    return np.where(seen > 0, total / np.maximum(seen, 1), otherwise).astype(np.float32)


def _compared(height: int, width: int) -> tuple[int, int]:
    factor = max(1.0, max(height, width) / RANKED_AT)
    return max(1, round(height / factor)), max(1, round(width / factor))
