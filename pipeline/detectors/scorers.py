"""One way from residuals to scores, for methods and controls alike.

Statistics come from validation normals only; a validation image is scored by the statistics of the *others*
(their group is left out), so that the label-free threshold is not set by images the statistics already know.
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
from pipeline.detectors.similar import SimilarNormals
from pipeline.errors import DatasetUnusable
from pipeline.forms.form import NO_DATA, SCORED
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, canvases, load_tiles

PartsOf = Callable[[int], Array]
"""Row of the images → smoothed, non-negative parts (P, H, W) of its residual."""
HEAT_RANGE = (0.0, 8.0)
"""Standardised score (sd of normals) shown as the coldest and the hottest colour; the same for every image."""


@dataclass(frozen=True)
class CanvasImages:
    """One canvas of the images of some splits at one resolution; rows of all fields are aligned."""

    images: pd.DataFrame  # image_id, split, label, klass, group, offset_row, offset_col (px of this resolution)
    pixels: Array  # (n, C, H, W) in [0, 1]
    proxies: Array | None  # (n, C, H, W) in [0, 1]
    validity: NDArray[np.uint8]  # (n, H, W)

    @cached_property
    def gray(self) -> Array:
        """(n, H, W): what controls of one channel see."""
        return lead(self.pixels)

    @cached_property
    def scored(self) -> NDArray[np.bool_]:
        """(n, H, W): where scores count."""
        scored: NDArray[np.bool_] = self.validity == SCORED
        return scored

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """(n, H, W): where something was imaged."""
        seen: NDArray[np.bool_] = self.validity != NO_DATA
        return seen

    def rows(self, split: str) -> NDArray[np.intp]:
        """Rows of one split."""
        return np.flatnonzero((self.images["split"] == split).to_numpy())

    def offset(self, row: int) -> tuple[float, float]:
        """By how many (rows, cols) the statistics of normals move for this image."""
        image = self.images.iloc[row]
        return float(image["offset_row"]), float(image["offset_col"])


def lead(pixels: Array) -> Array:
    """The only channel (n, H, W) of pixels (n, C, H, W), or green of three: a fundus shows lesions best there."""
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
    """Load and stitch one canvas; offsets are scaled from tile pixels to ``size``; ``more`` as in ``load_tiles``."""
    held = load_tiles(tiles, proxies, splits=splits, canvas=canvas, size=size, more=more)
    if not len(held.index):
        raise DatasetUnusable(f"{tiles.asset} {tiles.data_version}: no tiles of canvas {canvas} in {list(splits)}")
    return stitched(held, canvas, size)


def stitched(held: TileSet, canvas: str, size: tuple[int, int]) -> CanvasImages:
    """Tiles of one canvas as its images; ``size`` (h, w) is that of the tiles."""
    images, pixels = canvases(held.pixels, held.index, canvas)
    _, validity = canvases(held.validity, held.index, canvas)
    proxy = None if held.proxies is None else _unit(canvases(held.proxies, held.index, canvas)[1])
    scale = np.array([size[0], size[1]], float) / 256
    images = images.assign(offset_row=images["offset_row"] * scale[0], offset_col=images["offset_col"] * scale[1])
    return CanvasImages(images, _unit(pixels), proxy, validity.astype(np.uint8))


def _unit(codes: NDArray[np.generic]) -> Array:
    """uint8 codes as float32 in [0, 1]."""
    values: Array = codes.astype(np.float32) / np.float32(255)
    return values


@dataclass(frozen=True)
class CanvasScore:
    """Scores of one canvas, made on demand and not kept, so that memory stays bounded."""

    images: CanvasImages
    map_of: Callable[[int], Array]  # row → (H, W) standardised pixel scores
    config: ScoreConfig
    normal: NormalStatistics  # of all validation normals: what images of other splits are standardised by
    similar: SimilarNormals | None  # those normals one by one, where each image is standardised by the most similar

    def raw(self) -> Array:
        """Mean of the worst share of pixels of every image (n,)."""
        scored = self.images.scored
        raw = [worst_mean(self.map_of(row)[None], scored[row][None], self.config) for row in range(len(scored))]
        return np.concatenate(raw)

    def image(self) -> Array:
        """Image scores (n,): ``raw`` z-scored on validation normals."""
        raw = self.raw()
        return z_score(raw, raw[self.images.rows("val")])


def score_canvas(images: CanvasImages, parts_of: PartsOf, config: ScoreConfig) -> CanvasScore:
    """Standardise by validation normals; a validation image's whole group is left out of its own statistics."""
    scored = images.scored
    validation = images.rows("val")
    group = images.images["group"].to_numpy()
    if len(set(group[validation])) < 2:
        raise DatasetUnusable(
            f"scores need validation normals of two groups or more, got {len(set(group[validation]))}"
        )

    def added(rows: Iterable[int]) -> NormalSums:
        return reduce(add, (sums(parts_of(row), scored[row], images.offset(row), config) for row in rows))

    total = added(validation.tolist())
    everyone = total.statistics(config)
    held_out = validation.tolist()
    similar = _similar(images, parts_of, held_out, config) if config.similar else None

    def statistics_for(row: int) -> NormalStatistics:
        kin = [at for at, other in enumerate(held_out) if group[other] == group[row]]
        if similar:
            return similar.statistics(images.gray[row], scored[row], kin)
        return (total - added(held_out[at] for at in kin)).statistics(config) if kin else everyone

    def map_of(row: int) -> Array:
        statistics = statistics_for(row)
        return standardise_one(parts_of(row), statistics, scored[row], images.offset(row), config)

    return CanvasScore(images, map_of, config, everyone, similar)


def _similar(images: CanvasImages, parts_of: PartsOf, rows: list[int], config: ScoreConfig) -> SimilarNormals:
    smoothed = np.stack([parts_of(row) for row in rows])
    offsets = np.array([images.offset(row) for row in rows])
    return SimilarNormals(images.gray[rows], images.scored[rows], smoothed, offsets, config)


def residual_parts(residual: Array, images: CanvasImages, config: ScoreConfig) -> PartsOf:
    """Parts of signed residuals (n, H, W), smoothed image by image."""
    scored = images.scored

    def parts_of(row: int) -> Array:
        smoothed: Array = parts(residual[row][None], scored[row][None], config)[0]
        return smoothed

    return parts_of


def fused_map(parts: Sequence[tuple[float, CanvasScore]], row: int) -> Array:
    """Weighted sum (H, W) of standardised maps of one image, at the size of the largest."""
    maps = [weight * score.map_of(row) for weight, score in parts]
    height, width = max(found.shape for found in maps)
    total: Array = np.sum([enlarge(found, (height, width)) for found in maps], axis=0, dtype=np.float32)
    return total


def enlarge(values: Array, shape: tuple[int, int]) -> Array:
    """A map (H, W) at another resolution, bilinear."""
    if values.shape == shape:
        return values
    larger: Array = cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return larger
