"""Standardise by the most similar normals: what is usual for an image of this kind, not for all kinds at once.

A slot of brain MRI holds three planes and many contrasts; where anatomy and texture differ as much, the mean residual
of all normals is that of none. Legend as in ``models.scoring``; n normals.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import add
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.scoring import Array, NormalStatistics, NormalSums, ScoreConfig, sums

Masks = NDArray[np.bool_]
Value = TypeVar("Value", np.float32, np.bool_)
WORTH = 8.0
"""The similar ones are few, so the statistics of all normals count beside them, as much as so many of them would."""


@dataclass(frozen=True)
class SimilarNormals:
    """Held-out normals, of which each image is standardised by those most like it."""

    images: Array  # (n, H, W) in [0, 1]: what likeness is judged by
    scored: Masks  # (n, H, W)
    smoothed: Array  # (n, P, H, W) parts of their residuals
    offsets: NDArray[np.float64]  # (n, 2) px
    config: ScoreConfig

    def statistics(self, image: Array, scored: Masks, without: Collection[int] = ()) -> NormalStatistics:
        """Mean and sd for an image (H, W); ``without`` names normals that must not speak for it (its own group)."""
        count = len(self.images)
        kept = np.array([at for at in range(len(self._bank)) if at % count not in without], dtype=np.int64)
        chosen = kept[ranking(self._bank[kept], image[None], scored[None], self.config.similar)[0]]
        usual = self._everyone
        for one in without:
            usual = usual - reduce(add, (self._each[at] for at in range(one, len(self._bank), count)))
        some: NormalSums = reduce(add, (self._each[at] for at in chosen)).smoothed(self.config.sigma)
        return (some + usual.scaled(WORTH / usual.count.max())).statistics(self.config)

    @cached_property
    def _bank(self) -> Array:
        return with_mirrors(self.images, self.config.mirrored)

    @cached_property
    def _each(self) -> list[NormalSums]:
        """What each image of the bank adds."""
        single = replace(self.config, mirrored=False)
        rows = zip(self.smoothed, self.scored, self.offsets, strict=True)
        found = [sums(parts, mask, (float(at[0]), float(at[1])), single) for parts, mask, at in rows]
        return found + ([one.flipped() for one in found] if self.config.mirrored else [])

    @cached_property
    def _everyone(self) -> NormalSums:
        return reduce(add, self._each)


def with_mirrors(values: NDArray[Value], mirrored: bool) -> NDArray[Value]:
    """The values, followed by their mirror images where asked for."""
    return np.concatenate([values, values[..., ::-1]]) if mirrored else values


def ranking(bank: Array, query: Array, query_mask: Masks | None, count: int) -> NDArray[np.int64]:
    """Indices (m, count) of the images of the bank (n, H, W) closest to each query (m, H, W).

    By squared distance inside the query's mask. ``ValueError`` where nothing can be ranked.
    """
    if not len(bank) or bank.shape[1:] != query.shape[1:]:
        raise ValueError(f"ranking: expected images of the queries' size, got {bank.shape} beside {query.shape}")
    flat, asked = bank.reshape(len(bank), -1), query.reshape(len(query), -1)
    weight = np.ones_like(asked) if query_mask is None else query_mask.reshape(len(query), -1).astype(np.float32)
    distance = weight @ np.square(flat).T - 2 * (asked * weight) @ flat.T  # plus a constant of each query
    order: NDArray[np.int64] = np.argsort(distance, axis=1, kind="stable")[:, :count].astype(np.int64)
    return order
