"""The contract of everything that scores pixels: networks, PCA, neighbours, filters, classifiers, brightness.

A detector is fitted on normals of one canvas, or needs no fitting. It turns tiles at full size into *parts*: maps that
are at least 0 and higher where an image looks less normal. ``standardise`` makes scores of parts.
Legend: n images, P parts, H, W px of the canvas at the detector's own size.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.arithmetic import release_memory
from models.scoring import Array, ScoreConfig, parts
from pipeline.detectors.images import CanvasImages, stitched
from pipeline.detectors.neighbour import NormalResiduals
from pipeline.tiles.loading import TileSet, at_size


@dataclass(frozen=True)
class PixelMaps:
    """What a detector makes of n images; all values are independent of the other images."""

    images: CanvasImages  # at the detector's size
    parts: Array  # (n, P, H, W) ≥ 0
    residual: Array | None = None  # (n, H, W) signed I − Î; None where nothing is rebuilt


@dataclass(frozen=True)
class CanvasDetector(ABC):
    """One detector on one canvas."""

    _: KW_ONLY
    canvas: str
    size: tuple[int, int]  # rows and columns of a tile, px, that the detector sees
    score: ScoreConfig  # how its residual becomes parts and a score
    neutral: int  # gray level of pixels without data
    beside: NormalResiduals | None = None  # of training normals, with ``ScoreConfig.beside``

    copies_normals: ClassVar[bool] = False  # whether its state holds copies of training images

    @abstractmethod
    def maps(self, tiles: TileSet) -> PixelMaps:
        """Maps of all images of ``tiles`` (one canvas, full size); no value depends on the other images."""

    def parts_of(self, images: CanvasImages, residual: Array) -> Array:
        """Parts (n, P, H, W) of residuals (n, H, W), or of their differences from those of similar normals."""
        steady = residual if self.beside is None else self.beside.difference(images, residual, self.score)
        return parts(steady, images.scored, self.score)

    def holds_copies(self) -> bool:
        """Whether the saved state contains copies of training images, or residuals that show them."""
        return self.copies_normals or self.beside is not None


@dataclass(frozen=True)
class ControlDetector(CanvasDetector):
    """A control: no trained network; its parts are those of a signed difference. Subclasses hold what they learned."""

    _: KW_ONLY
    options: Mapping[str, Any] = field(default_factory=dict)  # arguments of the control

    needs_normals: ClassVar[bool] = False  # whether fitting reads training normals
    needs_proxies: ClassVar[bool] = False  # whether scoring reads the true proxies of the images
    rebuilds: ClassVar[bool] = False  # whether the difference is a residual I − Î; needed for ``ScoreConfig.beside``
    pretrained: ClassVar[bool] = False  # whether it uses weights that were trained on other images
    raw: ClassVar[bool] = False  # whether its values are measured directly: statistics would change their meaning

    @classmethod
    def fitted(cls, train: CanvasImages | None, **common: Any) -> Self:
        """Fit to training normals; ``common`` are the fields of every detector."""
        return cls(**common)

    @classmethod
    def read_options(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Options as they were before they were written as JSON."""
        return options

    @abstractmethod
    def difference(self, images: CanvasImages) -> Array:
        """Signed difference (n, H, W) of images from what the control expects."""

    @classmethod
    def fit(cls, train: CanvasImages | None, **common: Any) -> Self:
        """``fitted``, and with ``ScoreConfig.beside`` the residuals of the normals as well."""
        found = cls.fitted(train, **common)
        if not found.score.beside:
            return found
        assert train is not None, "residuals of normals need normals"
        return replace(found, beside=NormalResiduals.of(train, found.difference(train)))

    def images(self, tiles: TileSet) -> CanvasImages:
        """The images at the control's size."""
        return stitched(at_size(tiles, self.size, self.neutral), self.canvas)

    def maps(self, tiles: TileSet) -> PixelMaps:
        """Maps of ``tiles``."""
        images = self.images(tiles if self.needs_proxies else replace(tiles, proxies=None))
        found = self.difference(images)
        return PixelMaps(images, self.parts_of(images, found), found)


def joined(maps: Iterator[PixelMaps], count: int, *, pixels: bool = True) -> PixelMaps:
    """Images, with or without their pixels, and parts of several blocks, ``count`` images in all, as one.

    ``ValueError`` for another number.
    """
    tables, arrays, done = list[pd.DataFrame](), list[NDArray[Any]](), 0
    for one in maps:
        channels = one.images.pixels.shape[1] if pixels else 0
        values: tuple[NDArray[Any], ...] = (one.images.pixels[:, :channels], one.images.validity, one.parts)
        arrays = arrays or [np.empty((count, *value.shape[1:]), value.dtype) for value in values]
        for whole, value in zip(arrays, values, strict=True):
            whole[done : done + len(value)] = value
        tables.append(one.images.images)
        done += len(one.parts)
        del one, values, value  # before the next block is made
        release_memory()
    if done != count or not done:
        raise ValueError(f"expected maps of {count} images, at least one, got {done}")
    shown, validity, held = arrays
    return PixelMaps(CanvasImages(pd.concat(tables, ignore_index=True), shown, None, validity), held)
