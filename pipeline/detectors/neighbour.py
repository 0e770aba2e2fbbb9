"""Compare an image with its nearest training normals.

Legend: n training normals, m query images, H, W canvas px. Residuals feed ``models.scoring`` like a method's. Pass no
training normal of a query's own duplicate group.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from models.scoring import Array
from pipeline.detectors.similar import Masks, ranking, with_mirrors
from pipeline.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NeighbourConfig:
    """Size of the local search; measured at 64×64 canvases."""

    neighbours: int = 12  # most similar normals an image is compared with
    patch: int = 5  # px, side of the square over which the difference is averaged, odd
    shift: int = 2  # px, how far a neighbour may move along rows and columns
    mirrored: bool = True  # also look among the mirrored normals
    own_mirror: int = -1  # px by which the image's own mirror may move as one more candidate; -1 = no candidate

    def __post_init__(self) -> None:
        if self.neighbours < 1 or self.patch < 1 or self.patch % 2 == 0 or self.shift < 0:
            raise ConfigError(f"NeighbourConfig needs neighbours ≥ 1, an odd patch and shift ≥ 0, got {self}")


def patch_neighbour_map(
    train: Array,
    query: Array,
    train_mask: Masks,
    query_mask: Masks,
    config: NeighbourConfig,
    values: tuple[Array, Array] | None = None,
) -> Array:
    """Smallest local mean absolute difference (m, H, W) over similar normals and small shifts.

    Outside the training mask (n, H, W) there is nothing to match; outside the query's (m, H, W) the map is 0.
    ``values`` are maps (n, H, W) of the normals and (m, H, W) of the queries that are compared instead of the images;
    the images then only decide which normals are similar.
    """
    held, shown = values or (train, query)
    held, known = with_mirrors(held, config.mirrored), with_mirrors(train_mask, config.mirrored)
    bank, maps = with_mirrors(train, config.mirrored), np.empty(query.shape, np.float32)
    for i in range(len(query)):
        chosen = ranking(bank, query[i], query_mask[i], config.neighbours)
        maps[i] = local_distance(held[chosen], known[chosen], shown[i], query_mask[i], config)
        if config.own_mirror >= 0:
            other, seen = shown[i][None, :, ::-1], query_mask[i][None, :, ::-1]
            own = replace(config, shift=config.own_mirror)
            maps[i] = np.minimum(maps[i], local_distance(other, seen, shown[i], query_mask[i], own))
    return maps


def local_distance(bank: Array, known: Masks, query: Array, asked: Masks, config: NeighbourConfig) -> Array:
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
    # where no similar normal has data, take the unshifted difference from the closest one
    best[nowhere] = np.abs(query - bank[0])[nowhere]
    return np.where(asked, best, 0).astype(np.float32)
