"""Tiles in slots, the transform that brings a tile's heat map back to the image, and the plain form of the paper.

An image becomes one or more *canvases*: ``wide`` and ``tight`` for OCT, ``field`` for IDRiD, ``head`` for brain MRI. A
canvas is a grid of 256x256 tiles, and each place in it is a *slot*, which has the same meaning in every image.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnusableImage

TILE = 256  # px, side of a tile (paper, IV-A)
NO_DATA, SEEN, SCORED = 0, 1, 2
"""Validity codes: not imaged; imaged but not scored (rim, scalp); imaged and scored."""

Places = NDArray[np.float64]


@dataclass(frozen=True)
class TileTransform:
    """Map between tile pixel centres (row, col) and image pixel centres (y, x).

    ``x = x0 + dx * col`` and ``y = y0 + dy * row + curve(x)``; a mirrored tile has ``dx < 0``. ``curve`` is sampled
    at ``x = curve_x0 + i`` (image px), held constant beyond its ends, and empty where the map is affine.
    """

    height: int  # of the original image, px
    width: int
    x0: float
    dx: float
    y0: float
    dy: float
    curve: tuple[float, ...] = ()
    curve_x0: float = 0.0

    def shift(self, x: Places) -> Places:
        """Vertical shift of the curve at image columns ``x``, px."""
        places = self.curve_x0 + np.arange(len(self.curve))
        return np.interp(x, places, self.curve) if self.curve else np.zeros_like(x)

    def to_image(self, rows: Places, cols: Places) -> tuple[Places, Places]:
        """(y, x) in the image of tile positions (rows, cols)."""
        x = self.x0 + self.dx * np.asarray(cols, float)
        return self.y0 + self.dy * np.asarray(rows, float) + self.shift(x), x

    def to_tile(self, ys: Places, xs: Places) -> tuple[Places, Places]:
        """(row, col) in the tile of image positions (ys, xs); may lie outside the tile."""
        x = np.asarray(xs, float)
        return (np.asarray(ys, float) - self.y0 - self.shift(x)) / self.dy, (x - self.x0) / self.dx

    def paint(self, tile_map: NDArray[np.floating], shape: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """A (TILE, TILE) map in the image, (height, width) or a coarser ``shape`` of it; NaN outside the tile."""
        height, width = shape or (self.height, self.width)
        y, x = _centres(height, self.height), _centres(width, self.width)
        painted = np.full((height, width), np.nan, np.float32)
        ends = self.to_image(np.array([[-0.5], [TILE - 0.5]]), (x - self.x0) / self.dx)[0]
        first, last = np.searchsorted(y, [ends.min(), ends.max()])
        band = slice(first, last + 1)  # image rows that the tile may reach
        if y[band].size:
            rows, cols = self.to_tile(y[band, None], x)
            inside = (rows >= -0.5) & (rows <= TILE - 0.5) & (cols >= -0.5) & (cols <= TILE - 0.5)
            places = np.broadcast_to(cols, rows.shape).astype(np.float32), rows.astype(np.float32)
            plane = np.asarray(tile_map, np.float32)
            found = cv2.remap(plane, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            np.copyto(painted[band], found, where=inside)
        return painted

    def to_json(self) -> str:
        """One line of JSON; ``from_json`` is its inverse."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "TileTransform":
        """Read what ``to_json`` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "curve": tuple(fields["curve"])})


def _centres(count: int, length: int) -> Places:
    """Centres of ``count`` cells of an image side of ``length`` px."""
    return np.asarray((np.arange(count) + 0.5) * (length / count) - 0.5, np.float64)


@dataclass(frozen=True)
class SlotTile:
    """One tile of one image in its slot."""

    slot: str
    pixels: NDArray[np.uint8]  # (C, TILE, TILE)
    validity: NDArray[np.uint8]  # (TILE, TILE), codes NO_DATA, SEEN, SCORED
    lesions: NDArray[np.bool_]  # (L, TILE, TILE), in the order of the data set's lesion names
    transform: TileTransform
    offset: tuple[float, float] = (0.0, 0.0)  # rows, cols (canvas px) by which statistics of normals are shifted


class Form(Protocol):
    """A named way to cut an image into tiles; listed in ``FORMS``."""

    name: str  # key in FORMS
    version: int  # raise it when the form's result changes; part of the tiles' build key
    canvases: Mapping[str, tuple[int, int]]  # canvas name → rows and columns of slots
    channels: int  # of its tiles
    neutral: int  # uint8 value of pixels without data

    def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
        """Tiles of one image (H, W) or (H, W, 3), in the order of ``slots``.

        ``masks`` maps every lesion name of the data set, in order, to a (H, W) mask (all False where absent).
        Raises ``UnusableImage`` if the form does not find its landmarks.
        """
        ...


class PlainForm:
    """No canonical form: the whole image stretched to one tile, intensities in [0, 1] as stored (paper, IV-A)."""

    name = "plain"
    version = 1
    canvases: Mapping[str, tuple[int, int]] = {"image": (1, 1)}
    channels = 1
    neutral = 0

    def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
        """One tile of a (H, W) or (H, W, 3) image; lesion masks by area fraction of one half."""
        gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        height, width = gray.shape
        if min(height, width) < 16:
            raise UnusableImage(f"image is {width}x{height} px, expected at least 16 px a side")
        shrink = cv2.INTER_AREA if min(height, width) >= TILE else cv2.INTER_LINEAR
        pixels, *marks = (
            cv2.resize(plane, (TILE, TILE), interpolation=shrink)
            for plane in (gray, *(mask.astype(np.float32) for mask in masks.values()))
        )
        lesions = np.array([mark >= 0.5 for mark in marks], bool).reshape(len(marks), TILE, TILE)
        dx, dy = width / TILE, height / TILE
        transform = TileTransform(height, width, x0=dx / 2 - 0.5, dx=dx, y0=dy / 2 - 0.5, dy=dy)
        return (SlotTile("image", pixels[None], np.full((TILE, TILE), SCORED, np.uint8), lesions, transform),)


@dataclass(frozen=True)
class Slot:
    """A place with the same meaning in every image."""

    name: str
    canvas: str
    row: int
    col: int


def slots(canvases: Mapping[str, tuple[int, int]]) -> Iterator[Slot]:
    """The slots of a form in tile order: canvas by canvas, row by row."""
    for canvas, (rows, cols) in canvases.items():
        for row, col in np.ndindex(rows, cols):
            yield Slot(canvas if rows * cols == 1 else f"{canvas}/{row}{col}", canvas, row, col)
