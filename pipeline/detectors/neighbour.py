"""Compare an image, or its residual, with the training normals most like it.

A narrow latent blurs the anatomy of normals as well, so outlines stay in every residual, a few pixels apart from one
head to the next. Statistics of a place cannot tell them from a lesion; a similar normal that may move a little can.
Legend: n training normals, m query images, H, W canvas px. Maps feed ``models.scoring`` like a method's residuals. Pass
no training normal of a query's own duplicate group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from models.scoring import Array, Mask, ScoreConfig
from pipeline.detectors.images import CanvasImages, enlarge
from pipeline.errors import ConfigError

Value = TypeVar("Value", np.float32, np.bool_)


def with_mirrors(values: NDArray[Value], mirrored: bool) -> NDArray[Value]:
    """The values (…, W), followed by their mirror images if ``mirrored``."""
    return np.concatenate([values, values[..., ::-1]]) if mirrored else values


def ranking(bank: Array, query: Array, query_mask: Mask, count: int) -> NDArray[np.int64]:
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


def covered(masks: Mask, shape: tuple[int, ...]) -> Mask:
    """Mask (n, H, W) sampled down to ``shape`` (h, w): cells of which at least half is covered."""
    return masks if masks.shape[1:] == shape else area_means(masks.astype(np.float32), shape) >= 0.5


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
    train_mask: Mask,
    query_mask: Mask,
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


def local_distance(bank: Array, known: Mask, query: Array, asked: Mask, config: NeighbourConfig) -> Array:
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


MEASURED_AT = 64
"""Rows of a canvas at which the reach of the search was measured. Larger canvases are compared at this size, because
the cost of the search grows with the fourth power of the side."""

OWN_REACH = 3  # canvas px, at ``MEASURED_AT``, by which the image's own mirror may move


@dataclass(frozen=True)
class NormalResiduals:
    """A method's residuals of the training normals."""

    images: Array  # (n, H, W) in [0, 1], compared with the image
    scored: Mask  # (n, H, W)
    residual: Array  # (n, H, W) signed

    @classmethod
    def of(cls, normals: CanvasImages, residual: Array) -> "NormalResiduals":
        """Residuals (n, H, W) of ``normals``, sampled down to at most ``MEASURED_AT`` rows."""
        height, width = residual.shape[1:]
        factor = min(1.0, MEASURED_AT / height)
        shape = round(factor * height), round(factor * width)
        return cls(area_means(normals.gray, shape), covered(normals.scored, shape), area_means(residual, shape))

    @classmethod
    def joined(cls, blocks: Sequence["NormalResiduals"]) -> "NormalResiduals":
        """Residuals of several blocks of normals as one."""
        return cls(*(np.concatenate([getattr(one, field.name) for one in blocks]) for field in fields(cls)))

    def difference(self, images: CanvasImages, residual: Array, config: ScoreConfig) -> Array:
        """Smallest local mean difference (m, H, W), ≥ 0, of residuals (m, H, W) from those of similar normals.

        Candidates are the ``config.beside`` most similar normals, their mirror images, and with ``own_mirror`` that of
        the image itself. Images larger than the normals are compared at the normals' size, and the map is enlarged.
        """
        shape, own = self.images.shape[1:], (residual.shape[1], residual.shape[2])
        found = patch_neighbour_map(
            self.images,
            area_means(images.gray, shape),
            self.scored,
            covered(images.scored, shape),
            _search(config, shape[0]),
            values=(self.residual, area_means(residual, shape)),
        )
        return found if shape == own else np.stack([enlarge(one, own) for one in found])


def _search(config: ScoreConfig, height: int) -> NeighbourConfig:
    """The search that ``config`` asks for on canvases ``height`` px high."""
    usual, factor = NeighbourConfig(), height / MEASURED_AT
    return NeighbourConfig(
        neighbours=config.beside,
        patch=2 * round(factor * (usual.patch // 2)) + 1,
        shift=round(factor * usual.shift),
        mirrored=config.mirrored,
        own_mirror=round(factor * OWN_REACH) if config.own_mirror else -1,
    )
