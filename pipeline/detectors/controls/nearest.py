"""Controls that compare with training normals, and that no learned method may lose to."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.scoring import Array, Mask
from pipeline.detectors.contract import ControlDetector
from pipeline.detectors.images import CanvasImages
from pipeline.detectors.neighbour import (
    NeighbourConfig,
    area_means,
    covered,
    patch_neighbour_map,
    ranking,
    with_mirrors,
)
from pipeline.errors import ConfigError

NEIGHBOURS = 12  # training normals that ``SimilarMean`` averages
RANKED_AT = 128  # px of the longer side at which it ranks normals; larger canvases are sampled down to bound memory


@dataclass(frozen=True, kw_only=True)
class _Bank(ControlDetector):
    gray: Array  # (n, H, W) of training normals
    seen: Mask

    needs_normals = copies_normals = True

    @classmethod
    def fitted(cls, train: CanvasImages | None, **common: Any) -> Self:
        """Keep the training normals."""
        assert train is not None, "a comparison with normals needs training normals"
        return cls(gray=train.gray, seen=train.seen, **common)


class Nearest(_Bank):
    """The nearest training image or mirror image."""

    @cached_property
    def _mirrored(self) -> Array:
        return with_mirrors(self.gray, True)

    def difference(self, images: CanvasImages) -> Array:
        """Signed difference from it."""
        pairs = zip(images.gray, images.scored, strict=True)
        return np.stack([gray - self._mirrored[ranking(self._mirrored, gray, mask, 1)[0]] for gray, mask in pairs])


class PatchNeighbour(_Bank):
    """Local differences from similar normals; options are those of ``NeighbourConfig``."""

    def difference(self, images: CanvasImages) -> Array:
        """Smallest local mean absolute difference (n, H, W)."""
        config = NeighbourConfig(**self.options)
        return patch_neighbour_map(self.gray, images.gray, self.seen, images.scored, config)


@dataclass(frozen=True, kw_only=True)
class SimilarMean(ControlDetector):
    """The mean of the nearest training normals: a reconstruction that needs no network.

    Nearest by squared distance inside the scored area, normals of an image's own group left out. The difference is 0
    where none of the nearest was imaged. Option: ``count``.
    """

    codes: NDArray[np.uint8]  # (n, H, W) gray levels of training normals: a quarter of their values' memory
    seen: Mask
    groups: NDArray[np.int64]  # (n,)

    needs_normals = copies_normals = rebuilds = True

    @classmethod
    def fitted(cls, train: CanvasImages | None, **common: Any) -> Self:
        """Keep the training normals and their groups."""
        assert train is not None, "similar mean needs training normals"
        codes = np.stack([np.rint(gray * 255).astype(np.uint8) for gray in train.gray])
        return cls(codes=codes, seen=train.seen, groups=train.groups, **common)

    def _gray(self, row: int) -> Array:
        return np.asarray(self.codes[row] / np.float32(255))

    @cached_property
    def _bank(self) -> Array:
        factor = max(1.0, max(self.codes.shape[1:]) / RANKED_AT)
        height, width = (max(1, round(side / factor)) for side in self.codes.shape[1:])
        return np.concatenate([area_means(self._gray(row)[None], (height, width)) for row in range(len(self.codes))])

    def difference(self, images: CanvasImages) -> Array:
        """``ConfigError`` if every normal is of an image's group or the sizes differ."""
        if self.codes.shape[1:] != images.gray.shape[1:]:
            raise ConfigError(f"similar mean: expected normals of {images.gray.shape[1:]} px, got {self.codes.shape}")
        shape, residual = self._bank.shape[1:], np.empty(images.gray.shape, np.float32)
        query, asked = area_means(images.gray, shape), covered(images.scored, shape)
        for row, group in enumerate(images.groups):
            others = np.flatnonzero(self.groups != group)
            if not len(others):
                name = images.images["group"].iloc[row]
                raise ConfigError(f"similar mean: no training normal of another group than {name!r}")
            nearest = ranking(self._bank[others], query[row], asked[row], self.options.get("count", NEIGHBOURS))
            residual[row] = images.gray[row] - self._mean(others[nearest], images.gray[row])
        return residual

    def _mean(self, rows: NDArray[np.int64], otherwise: Array) -> Array:
        """Mean (H, W) over the normals that show a pixel; ``otherwise`` where none does."""
        total, seen = np.zeros(otherwise.shape, np.float32), np.zeros(otherwise.shape, np.float32)
        for row in rows:
            total += np.where(self.seen[row], self._gray(row), 0)
            seen += self.seen[row]
        return np.where(seen > 0, total / np.maximum(seen, 1), otherwise).astype(np.float32)
