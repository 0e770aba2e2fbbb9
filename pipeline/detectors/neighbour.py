"""Neighbours among the normals: what a detector must beat that was never trained.

Legend: n training normals, m query images, H, W canvas px. Residuals feed ``models.scoring`` like a method's.
Both know the training normals only, so pass no image of a query's own duplicate group.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.detectors.similar import ranking, with_mirrors
from pipeline.errors import ConfigError

Maps = NDArray[np.float32]
Masks = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class NeighbourConfig:
    """Size of the local search; measured at 64×64 canvases."""

    neighbours: int = 12  # most similar normals an image is compared with
    patch: int = 5  # px, side of the square over which the difference is averaged, odd
    shift: int = 2  # px, how far a neighbour may move along rows and columns
    mirrored: bool = True  # also look among the mirrored normals
    own_mirror: int = -1  # px by which the image's own mirror may move as one more candidate; -1 = it is none

    def __post_init__(self) -> None:
        if self.neighbours < 1 or self.patch < 1 or self.patch % 2 == 0 or self.shift < 0:
            raise ConfigError(f"NeighbourConfig needs neighbours ≥ 1, an odd patch and shift ≥ 0, got {self}")


def nearest_residual(train: Maps, query: Maps, *, query_mask: Masks | None = None, mirrored: bool = True) -> Maps:
    """Signed difference (m, H, W) of each query to its nearest training image in squared distance."""
    check_shapes(train, query)
    bank = with_mirrors(train, mirrored)
    best = ranking(bank, query, query_mask, 1)[:, 0]
    residual: Maps = query - bank[best]
    return residual


def patch_neighbour_map(
    train: Maps,
    query: Maps,
    *,
    train_mask: Masks | None = None,
    query_mask: Masks | None = None,
    values: tuple[Maps, Maps] | None = None,
    config: NeighbourConfig | None = None,
) -> Maps:
    """Smallest local mean absolute difference (m, H, W) over similar normals and small shifts.

    With ``own_mirror`` the other half of the same head explains a place too, as a normal of the same contrast does.
    ``values`` are what is compared in the place of the images, which then only tell who is similar: maps (n, H, W) of
    the normals and (m, H, W) of the queries.

    Masks (n, H, W), (m, H, W) say what counts: outside the training mask there is nothing to match, and outside the
    query's the map is 0.
    """
    config = config or NeighbourConfig()
    check_shapes(train, query)
    held, shown = values or (train, query)
    known = with_mirrors(np.ones(train.shape, bool) if train_mask is None else train_mask, config.mirrored)
    asked = np.ones(query.shape, bool) if query_mask is None else query_mask
    bank, held = with_mirrors(train, config.mirrored), with_mirrors(held, config.mirrored)
    similar = ranking(bank, query, asked, min(config.neighbours, len(bank)))
    maps = np.empty(query.shape, np.float32)
    for i, chosen in enumerate(similar):
        maps[i] = local_distance(held[chosen], known[chosen], shown[i], asked[i], config)
        if config.own_mirror >= 0:
            other, seen = shown[i][None, :, ::-1], asked[i][None, :, ::-1]
            own = replace(config, shift=config.own_mirror)
            maps[i] = np.minimum(maps[i], local_distance(other, seen, shown[i], asked[i], own))
    return maps


def check_shapes(train: Maps, query: Maps) -> None:
    """Raise ``ConfigError`` unless both hold canvases of one size and there is a normal to compare with."""
    if len(train) == 0 or train.shape[1:] != query.shape[1:]:
        raise ConfigError(f"expected training normals of the query's size, got {train.shape} and {query.shape}")


def local_distance(bank: Maps, known: Masks, query: Maps, asked: Masks, config: NeighbourConfig) -> Maps:
    """Map (H, W) of one query against its similar normals (k, H, W): window means, smallest over all candidates."""
    height, width = query.shape
    s, window = config.shift, (config.patch, config.patch)
    pads = ((0, 0), (s, s), (s, s))
    wide, wide_known = np.pad(bank, pads, mode="edge"), np.pad(known, pads, mode="edge").astype(np.float32)
    best = np.full(query.shape, np.inf, np.float32)
    for row in range(2 * s + 1):
        for col in range(2 * s + 1):
            rows, cols = slice(row, row + height), slice(col, col + width)
            for image, mask in zip(wide[:, rows, cols], wide_known[:, rows, cols], strict=True):
                weight = mask * asked
                share = cv2.blur(weight, window)
                mean = cv2.blur(np.abs(query - image) * weight, window) / np.maximum(share, 1e-6)
                np.minimum(best, np.where(share > 0.25, mean, np.inf), out=best)
    nowhere = ~np.isfinite(best)
    # a place no similar normal has: the difference to the closest one, unshifted, stands in for it
    best[nowhere] = np.abs(query - bank[0])[nowhere]
    result: Maps = np.where(asked, best, 0).astype(np.float32)
    return result
