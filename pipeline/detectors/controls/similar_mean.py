"""The mean of the most similar training normals: a reconstruction that needs no network.

Legend: n training normals, m query images, H, W canvas px.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.detectors.similar import ranking
from pipeline.errors import ConfigError

Maps = NDArray[np.float32]
Masks = NDArray[np.bool_]

NEIGHBOURS = 12
"""Training normals that are averaged."""

RANKED_AT = 128
"""Px of the longer side at which images are compared: larger canvases are reduced, so that memory stays bounded."""

BLOCK = 256
"""Queries that are ranked at once."""


@dataclass(frozen=True)
class NormalBank:
    """Training normals that stand in for a reconstruction."""

    images: Maps  # (n, H, W) in [0, 1]
    seen: Masks  # (n, H, W), where something was imaged
    groups: NDArray[np.object_]  # (n,)

    def residual(self, query: Maps, scored: Masks, groups: NDArray[np.object_], count: int = NEIGHBOURS) -> Maps:
        """Signed difference (m, H, W) of queries (m, H, W) in [0, 1] and the mean of their ``count`` nearest normals.

        Nearest by squared distance inside ``scored`` (m, H, W). Normals of a query's own group are left out. The
        difference is 0 where none of the nearest was imaged. ``ConfigError`` where every normal is of the query's
        group, or the shapes do not agree.
        """
        if not len(self.images) or self.images.shape[1:] != query.shape[1:]:
            raise ConfigError(f"similar mean: expected normals of {query.shape[1:]} px, got {self.images.shape}")
        bank = _reduced(self.images)
        most = count + int(np.unique(self.groups.astype(str), return_counts=True)[1].max())
        residual = np.empty(query.shape, np.float32)
        for start in range(0, len(query), BLOCK):
            rows = slice(start, start + BLOCK)
            asked = _reduced(scored[rows].astype(np.float32)) >= 0.5
            for row, order in enumerate(ranking(bank, _reduced(query[rows]), asked, most), start=start):
                nearest = order[self.groups[order] != groups[row]][:count]
                if not len(nearest):
                    raise ConfigError(f"similar mean: no training normal of another group than {groups[row]!r}")
                residual[row] = query[row] - self._mean(nearest, query[row])
        return residual

    def _mean(self, rows: NDArray[np.int64], otherwise: Maps) -> Maps:
        """Mean (H, W) over the normals that show a pixel; ``otherwise`` where none does."""
        total, seen = np.zeros(otherwise.shape, np.float32), np.zeros(otherwise.shape, np.float32)
        for row in rows:
            total += np.where(self.seen[row], self.images[row], 0)
            seen += self.seen[row]
        mean: Maps = np.where(seen > 0, total / np.maximum(seen, 1), otherwise).astype(np.float32)
        return mean


def _reduced(values: Maps) -> Maps:
    """Maps (n, H, W) by area means to at most ``RANKED_AT`` px on the longer side."""
    height, width = values.shape[1:]
    factor = max(height, width) / RANKED_AT
    if factor <= 1:
        return values
    size = max(1, round(width / factor)), max(1, round(height / factor))
    return np.stack([cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in values])
