"""The contract of everything that scores pixels: networks, PCA, neighbours, filters, classifiers, brightness.

A detector is fitted on normals of one canvas, or needs no fitting. It turns tiles at full size into *parts*: maps that
are at least 0 and higher where an image looks less normal. ``standardise`` makes scores of parts.
Legend: n images, P parts, H, W px of the canvas at the detector's own size.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from models.scoring import Array, ScoreConfig, parts
from pipeline.detectors.images import CanvasImages
from pipeline.detectors.normal_residuals import NormalResiduals
from pipeline.tiles.loading import TileSet


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

    copies_normals: ClassVar[bool] = False
    """Whether a saved detector holds copies of training images; so does every one with ``beside``."""

    @abstractmethod
    def maps(self, tiles: TileSet) -> PixelMaps:
        """Maps of all images of ``tiles`` (one canvas, full size); no value depends on the other images."""

    def steady(self, images: CanvasImages, residual: Array) -> Array:
        """The map (n, H, W) that is scored: the residual, or its difference from those of similar normals."""
        return residual if self.beside is None else self.beside.difference(images, residual, self.score)

    def parts_of(self, images: CanvasImages, steady: Array) -> Array:
        """Parts (n, P, H, W) of signed maps (n, H, W)."""
        return parts(steady, images.scored, self.score)

    def holds_copies(self) -> bool:
        """Whether the saved state contains copies of training images, or residuals that show them."""
        return self.copies_normals or self.beside is not None


def joined(maps: Iterator[PixelMaps]) -> PixelMaps:
    """Maps of several blocks as one."""
    held = list(maps)
    images = [one.images for one in held]
    table = pd.concat([one.images for one in images], ignore_index=True)
    stacked = CanvasImages(
        table,
        np.concatenate([one.pixels for one in images]),
        None,
        np.concatenate([one.validity for one in images]),
    )
    residual = None if held[0].residual is None else np.concatenate([one.residual for one in held])
    return PixelMaps(stacked, np.concatenate([one.parts for one in held]), residual)
