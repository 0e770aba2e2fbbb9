"""Tiles in slots, and the transform that brings a tile's heat map back to the image.

An image becomes one or more *canvases*. A canvas is a grid of 256x256 tiles, and each place in that grid is a *slot*,
which has the same meaning in every image. OCT has the canvases ``wide`` and ``tight`` of one tile each, IDRiD the
canvas ``field`` of 3x3 tiles, brain MRI the canvas ``head`` of one tile.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

TILE = 256
"""Side of a tile in pixels (paper, IV-A)."""

NO_DATA, SEEN, SCORED = 0, 1, 2
"""Validity codes: not imaged; imaged but not scored (rim, scalp); imaged and scored."""

Places = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
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
        if not self.curve:
            return np.zeros_like(x)
        return np.interp(x, self.curve_x0 + np.arange(len(self.curve)), self.curve)

    def to_image(self, rows: Places, cols: Places) -> tuple[Places, Places]:
        """(y, x) in the image of tile positions (rows, cols)."""
        x = self.x0 + self.dx * np.asarray(cols, float)
        return self.y0 + self.dy * np.asarray(rows, float) + self.shift(x), x

    def to_tile(self, ys: Places, xs: Places) -> tuple[Places, Places]:
        """(row, col) in the tile of image positions (ys, xs); may lie outside the tile."""
        x = np.asarray(xs, float)
        return (np.asarray(ys, float) - self.y0 - self.shift(x)) / self.dy, (x - self.x0) / self.dx

    def paint(self, tile_map: NDArray[np.floating], shape: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """A (TILE, TILE) map in the original image: (height, width), NaN outside the tile.

        ``shape`` gives the whole image on a coarser grid of that many rows and columns.
        """
        height, width = shape or (self.height, self.width)
        down, right = self.height / height, self.width / width
        y, x = (np.arange(height) + 0.5) * down - 0.5, (np.arange(width) + 0.5) * right - 0.5
        rows, cols = self.to_tile(*np.meshgrid(y, x, indexing="ij"))
        inside = (rows >= -0.5) & (rows <= TILE - 0.5) & (cols >= -0.5) & (cols <= TILE - 0.5)
        painted = np.full((height, width), np.nan, np.float32)
        places = [rows[inside], cols[inside]]
        painted[inside] = ndimage.map_coordinates(np.asarray(tile_map, np.float32), places, order=1, mode="nearest")
        return painted

    def to_json(self) -> str:
        """One line of JSON; ``from_json`` is its inverse."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "TileTransform":
        """Read what ``to_json`` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "curve": tuple(fields["curve"])})


@dataclass(frozen=True, kw_only=True)
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
    neutral: int  # uint8 value of pixels without data

    def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
        """Tiles of one image (H, W) or (H, W, 3), in the order of ``slots``.

        ``masks`` maps every lesion name of the data set, in order, to a (H, W) mask (all False where absent).
        Raises ``UnusableImage`` if the form does not find its landmarks.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place with the same meaning in every image."""

    name: str
    canvas: str
    row: int
    col: int


def slots(canvases: Mapping[str, tuple[int, int]]) -> Iterator[Slot]:
    """The slots of a form in tile order: canvas by canvas, row by row."""
    for canvas, (rows, cols) in canvases.items():
        for row in range(rows):
            for col in range(cols):
                name = canvas if rows * cols == 1 else f"{canvas}/{row}{col}"
                yield Slot(name=name, canvas=canvas, row=row, col=col)
