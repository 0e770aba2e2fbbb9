"""Find the normals most like an image, and standardise by those instead of all.

A slot of brain MRI holds three planes and many contrasts. Where anatomy and texture differ that much, the mean residual
of all normals describes none of them. Legend as in ``models.scoring``; n normals.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import add
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from models.scoring import Array, NormalStatistics, NormalSums, ScoreConfig, sums
from pipeline.errors import ConfigError

Masks = NDArray[np.bool_]
Value = TypeVar("Value", np.float32, np.bool_)
WORTH = 8.0
"""Weight, in images, of the statistics of all normals when they are added to those of the few similar ones."""


@dataclass(frozen=True)
class SimilarNormals:
    """Held-out normals; each image is standardised by those most like it."""

    images: Array  # (n, H, W) in [0, 1], compared with the image
    scored: Masks  # (n, H, W)
    smoothed: Array  # (n, P, H, W) parts of their residuals
    offsets: NDArray[np.float64]  # (n, 2) px
    config: ScoreConfig

    def statistics(self, image: Array, scored: Masks, without: Collection[int] = ()) -> NormalStatistics:
        """Mean and sd for an image (H, W); ``without`` lists normals to leave out, those of the image's own group."""
        count = len(self.images)
        kept = np.array([at for at in range(len(self._bank)) if at % count not in without], dtype=np.int64)
        chosen = kept[ranking(self._bank[kept], image, scored, self.config.similar)]
        everyone = self._everyone
        for one in without:
            everyone = everyone - reduce(add, (self._each[at] for at in range(one, len(self._bank), count)))
        similar: NormalSums = reduce(add, (self._each[at] for at in chosen)).smoothed(self.config.sigma)
        return (similar + everyone.scaled(WORTH / everyone.count.max())).statistics(self.config)

    @cached_property
    def _bank(self) -> Array:
        return with_mirrors(self.images, self.config.mirrored)

    @cached_property
    def _each(self) -> list[NormalSums]:
        """Sums of each image of the bank."""
        single = replace(self.config, mirrored=False)
        rows = zip(self.smoothed, self.scored, self.offsets, strict=True)
        found = [sums(parts, mask, (float(at[0]), float(at[1])), single) for parts, mask, at in rows]
        return found + ([one.flipped() for one in found] if self.config.mirrored else [])

    @cached_property
    def _everyone(self) -> NormalSums:
        return reduce(add, self._each)


def with_mirrors(values: NDArray[Value], mirrored: bool) -> NDArray[Value]:
    """The values (…, W), followed by their mirror images if ``mirrored``."""
    return np.concatenate([values, values[..., ::-1]]) if mirrored else values


def ranking(bank: Array, query: Array, query_mask: Masks, count: int) -> NDArray[np.int64]:
    """Indices (count,) of the images of the bank (n, H, W) closest to a query (H, W).

    Closest by squared distance inside the query's mask. ``ConfigError`` for an empty bank or one of another size.
    """
    if not len(bank) or bank.shape[1:] != query.shape:
        raise ConfigError(f"expected normals of the query's size to compare with, got {bank.shape} and {query.shape}")
    flat, weight = bank.reshape(len(bank), -1), query_mask.ravel().astype(np.float32)
    distance = np.square(flat) @ weight - 2 * (flat @ (query.ravel() * weight))  # plus a constant of the query
    return np.argsort(distance, kind="stable")[:count].astype(np.int64)


def area_means(planes: NDArray[np.floating], shape: tuple[int, ...]) -> Array:
    """Planes (n, H, W) sampled down to ``shape`` (h, w)."""
    if planes.shape[1:] == shape:
        return np.asarray(planes, np.float32)
    small = [cv2.resize(np.asarray(one, np.float32), shape[::-1], interpolation=cv2.INTER_AREA) for one in planes]
    return np.asarray(small, np.float32).reshape(len(planes), *shape)


def covered(masks: Masks, shape: tuple[int, ...]) -> Masks:
    """Masks (n, H, W) sampled down to ``shape`` (h, w): cells of which at least half is covered."""
    return masks if masks.shape[1:] == shape else area_means(masks.astype(np.float32), shape) >= 0.5
