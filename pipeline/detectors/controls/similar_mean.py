"""The mean of the most similar training normals: a reconstruction that needs no network."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.scoring import Array
from pipeline.detectors.controls.base import ControlDetector
from pipeline.detectors.images import CanvasImages
from pipeline.detectors.similar import Masks, area_means, covered, ranking
from pipeline.errors import ConfigError

NEIGHBOURS = 12
"""Training normals that are averaged."""

RANKED_AT = 128
"""Px of the longer side at which images are compared. Larger canvases are sampled down to bound memory."""


@dataclass(frozen=True, kw_only=True)
class SimilarMean(ControlDetector):
    """The mean of the nearest training normals instead of a reconstruction.

    Nearest by squared distance inside the scored area, normals of an image's own group left out. The difference is 0
    where none of the nearest was imaged. Option: ``count``.
    """

    gray: Array  # (n, H, W) of training normals
    seen: Masks
    groups: NDArray[np.int64]  # (n,)

    needs_normals = rebuilds = copies_normals = True

    @classmethod
    def fitted(cls, train: CanvasImages | None, **common: Any) -> Self:
        """Keep the training normals."""
        assert train is not None, "similar mean needs training normals"
        return cls(gray=train.gray, seen=train.seen, groups=train.groups, **common)

    @cached_property
    def _bank(self) -> Array:
        factor = max(1.0, max(self.gray.shape[1:]) / RANKED_AT)
        height, width = (max(1, round(side / factor)) for side in self.gray.shape[1:])
        return area_means(self.gray, (height, width))

    def difference(self, images: CanvasImages) -> Array:
        """``ConfigError`` if every normal is of an image's group or the sizes differ."""
        if self.gray.shape[1:] != images.gray.shape[1:]:
            raise ConfigError(f"similar mean: expected normals of {images.gray.shape[1:]} px, got {self.gray.shape}")
        shape, residual = self._bank.shape[1:], np.empty(images.gray.shape, np.float32)
        query, asked = area_means(images.gray, shape), covered(images.scored, shape)
        for row, group in enumerate(images.groups):
            others = np.flatnonzero(self.groups != group)
            if not len(others):
                name = images.images["group"].iloc[row]
                raise ConfigError(f"similar mean: no training normal of another group than {name!r}")
            count = self.options.get("count", NEIGHBOURS)
            nearest = ranking(self._bank[others], query[row], asked[row], count)
            residual[row] = images.gray[row] - self._mean(others[nearest], images.gray[row])
        return residual

    def _mean(self, rows: NDArray[np.int64], otherwise: Array) -> Array:
        """Mean (H, W) over the normals that show a pixel; ``otherwise`` where none does."""
        total, seen = np.zeros(otherwise.shape, np.float32), np.zeros(otherwise.shape, np.float32)
        for row in rows:
            total += np.where(self.seen[row], self.gray[row], 0)
            seen += self.seen[row]
        return np.where(seen > 0, total / np.maximum(seen, 1), otherwise).astype(np.float32)
