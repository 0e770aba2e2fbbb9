"""One canvas of some images: tiles stitched, for everything that scores."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.scoring import Array, Mask
from pipeline.forms.form import NO_DATA, SCORED, TILE
from pipeline.tiles.loading import TileSet, canvases

BLOCK = 8  # images that are scored at once: bounds memory where a canvas has many parts


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
    def scored(self) -> Mask:
        """Where scores count, (n, H, W)."""
        return np.asarray(self.validity == SCORED)

    @cached_property
    def seen(self) -> Mask:
        """Where something was imaged, (n, H, W)."""
        return np.asarray(self.validity != NO_DATA)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Duplicate group (n,) of each image as a number that safetensors can hold."""
        return np.array([group_number(str(group)) for group in self.images["group"]], np.int64)

    def offset(self, row: int) -> tuple[float, float]:
        """Shift (rows, cols) of the statistics of normals for this image."""
        image = self.images.iloc[row]
        return float(image["offset_row"]), float(image["offset_col"])


def lead(pixels: Array) -> Array:
    """The only channel (n, H, W) of pixels (n, C, H, W), or green of three, which shows a fundus's lesions best."""
    return pixels[:, 1 if pixels.shape[1] == 3 else 0]


def stitched(held: TileSet, canvas: str) -> CanvasImages:
    """Stitch tiles of one canvas to images; offsets are scaled to the size of the tiles."""
    images, pixels = canvases(held.pixels, held.index, canvas)
    _, validity = canvases(held.validity, held.index, canvas)
    proxies = None if held.proxies is None else _unit(canvases(held.proxies, held.index, canvas)[1])
    rows, cols = (side / TILE for side in held.validity.shape[1:])
    images = images.assign(offset_row=images["offset_row"] * rows, offset_col=images["offset_col"] * cols)
    return CanvasImages(images, _unit(pixels), proxies, validity.astype(np.uint8))


def _unit(codes: NDArray[np.generic]) -> Array:
    return codes.astype(np.float32) / np.float32(255)


def group_number(group: str) -> int:
    """A duplicate group's name as a number."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:7])


def enlarge(values: Array, shape: tuple[int, int]) -> Array:
    """A map (H, W) at another resolution, bilinear."""
    if values.shape == shape:
        return values
    return np.asarray(cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))
