"""Turn residuals of methods and controls into scores.

Statistics come from validation normals only. A validation image is standardised by the *other* normals (its group is
left out), because the label-free threshold must not come from images that the statistics have already seen.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.scoring import (
    Array,
    NormalStatistics,
    NormalSums,
    ScoreConfig,
    parts,
    standardise_one,
    sums,
    worst_mean,
    z_score,
)
from pipeline.detectors.similar import Masks, SimilarNormals
from pipeline.errors import DatasetUnusable
from pipeline.forms.form import NO_DATA, SCORED, TILE
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, canvases, load_tiles

PartsOf = Callable[[int], Array]
"""Row of the images → smoothed, non-negative parts (P, H, W) of its residual."""
HEAT_RANGE = (0.0, 8.0)
"""Standardised scores (sd of normals) of the coldest and the hottest colour, the same for every image."""


@dataclass(frozen=True)
class CanvasImages:
    """One canvas of the images of some splits at one resolution; rows of all fields are aligned."""

    images: pd.DataFrame  # image_id, split, label, klass, group, offset_row, offset_col (px of this resolution)
    pixels: Array  # (n, C, H, W) in [0, 1]
    proxies: Array | None  # (n, C, H, W) in [0, 1]
    validity: NDArray[np.uint8]  # (n, H, W)

    @cached_property
    def gray(self) -> Array:
        """Pixels (n, H, W) for controls of one channel."""
        return lead(self.pixels)

    @cached_property
    def scored(self) -> Masks:
        """Where scores count, (n, H, W)."""
        return np.asarray(self.validity == SCORED)

    @cached_property
    def seen(self) -> Masks:
        """Where something was imaged, (n, H, W)."""
        return np.asarray(self.validity != NO_DATA)

    def rows(self, split: str) -> NDArray[np.intp]:
        """Rows of one split."""
        return np.flatnonzero((self.images["split"] == split).to_numpy())

    def offset(self, row: int) -> tuple[float, float]:
        """Shift (rows, cols) of the statistics of normals for this image."""
        image = self.images.iloc[row]
        return float(image["offset_row"]), float(image["offset_col"])


def lead(pixels: Array) -> Array:
    """The only channel (n, H, W) of pixels (n, C, H, W), or green of three, which shows a fundus's lesions best."""
    return pixels[:, 1 if pixels.shape[1] == 3 else 0]


def canvas_images(
    tiles: Version,
    proxies: Version | None,
    *,
    canvas: str,
    splits: Sequence[str],
    size: tuple[int, int],
    more: TileSet | None = None,
) -> CanvasImages:
    """Load and stitch one canvas with tiles of ``size`` (h, w); ``more`` tiles follow as in ``load_tiles``."""
    return stitched(load_tiles(tiles, proxies, splits=splits, canvas=canvas, size=size, more=more), canvas)


def stitched(held: TileSet, canvas: str) -> CanvasImages:
    """Stitch tiles of one canvas to images; offsets are scaled to the size of the tiles."""
    images, pixels = canvases(held.pixels, held.index, canvas)
    _, validity = canvases(held.validity, held.index, canvas)
    proxy = None if held.proxies is None else _unit(canvases(held.proxies, held.index, canvas)[1])
    rows, cols = (side / TILE for side in held.validity.shape[1:])
    images = images.assign(offset_row=images["offset_row"] * rows, offset_col=images["offset_col"] * cols)
    return CanvasImages(images, _unit(pixels), proxy, validity.astype(np.uint8))


def _unit(codes: NDArray[np.generic]) -> Array:
    """uint8 codes as float32 in [0, 1]."""
    return codes.astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class CanvasScore:
    """Scores of one canvas. Maps are computed on demand and not kept, which bounds memory."""

    images: CanvasImages
    map_of: Callable[[int], Array]  # row → (H, W) standardised pixel scores
    config: ScoreConfig
    normal: NormalStatistics  # of all validation normals; standardise images of other splits
    similar: SimilarNormals | None  # the same normals one by one, if each image is standardised by the most similar

    def raw(self) -> Array:
        """Mean (n,) of the worst share of pixels of every image."""
        scored = self.images.scored
        raw = [worst_mean(self.map_of(row)[None], scored[row][None], self.config) for row in range(len(scored))]
        return np.concatenate(raw)

    def image(self) -> Array:
        """Image scores (n,): ``raw`` in units of the sd of validation normals."""
        raw = self.raw()
        return z_score(raw, raw[self.images.rows("val")])


def score_canvas(images: CanvasImages, parts_of: PartsOf, config: ScoreConfig) -> CanvasScore:
    """Standardise by validation normals; a validation image's own group is left out of its statistics."""
    scored, group = images.scored, images.images["group"].to_numpy()
    held_out = images.rows("val").tolist()
    if (count := len(set(group[held_out]))) < 2:
        raise DatasetUnusable(f"scores need validation normals of two groups or more, got {count}")

    def added(rows: Iterable[int]) -> NormalSums:
        return reduce(add, (sums(parts_of(row), scored[row], images.offset(row), config) for row in rows))

    total = added(held_out)
    everyone = total.statistics(config)
    similar = None
    if config.similar:
        smoothed, offsets = (np.stack([of(row) for row in held_out]) for of in (parts_of, images.offset))
        similar = SimilarNormals(images.gray[held_out], scored[held_out], smoothed, offsets, config)

    def statistics_for(row: int) -> NormalStatistics:
        kin = [at for at, other in enumerate(held_out) if group[other] == group[row]]
        if similar:
            return similar.statistics(images.gray[row], scored[row], kin)
        return (total - added(held_out[at] for at in kin)).statistics(config) if kin else everyone

    def map_of(row: int) -> Array:
        return standardise_one(parts_of(row), statistics_for(row), scored[row], images.offset(row), config)

    return CanvasScore(images, map_of, config, everyone, similar)


def residual_parts(residual: Array, images: CanvasImages, config: ScoreConfig) -> PartsOf:
    """Parts of signed residuals (n, H, W), smoothed image by image."""
    scored = images.scored
    return lambda row: np.asarray(parts(residual[row][None], scored[row][None], config)[0])


def fused_map(parts: Sequence[tuple[float, CanvasScore]], row: int) -> Array:
    """Weighted sum (H, W) of standardised maps of one image, at the size of the largest."""
    maps = [weight * score.map_of(row) for weight, score in parts]
    height, width = max(found.shape for found in maps)
    return np.asarray(np.sum([enlarge(found, (height, width)) for found in maps], axis=0, dtype=np.float32))


def enlarge(values: Array, shape: tuple[int, int]) -> Array:
    """A map (H, W) at another resolution, bilinear."""
    if values.shape == shape:
        return values
    return np.asarray(cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))
