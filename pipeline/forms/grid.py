"""A square canvas as a grid of tiles that neither overlap nor leave gaps.

Tile ``k`` of a grid of ``n`` by ``n`` lies in row ``k // n`` and column ``k % n`` (the order of ``form.slots``); its
pixel (r, c) is the canvas pixel ``(TILE * (k // n) + r, TILE * (k % n) + c)``. Cutting and stitching copy values and
are exact inverses for every dtype.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.forms.form import TILE

T = TypeVar("T", bound=np.generic)

GRID = 3
"""Tiles along a side of the fundus canvas."""


def cut_grid(canvas: NDArray[T]) -> NDArray[T]:
    """Tiles (9, ..., TILE, TILE) of a canvas (..., 3 TILE, 3 TILE). Raises ``ValueError`` for another size."""
    _expect(canvas.shape[-2:], (GRID * TILE, GRID * TILE))
    lead = canvas.shape[:-2]
    split = canvas.reshape(*lead, GRID, TILE, GRID, TILE)
    moved = np.moveaxis(split, (-4, -2), (0, 1))
    return np.ascontiguousarray(moved).reshape(GRID * GRID, *lead, TILE, TILE)


def stitch_grid(tiles: NDArray[T]) -> NDArray[T]:
    """The canvas (..., 3 TILE, 3 TILE) of tiles (9, ..., TILE, TILE). Raises ``ValueError`` for other shapes."""
    _expect((len(tiles), *tiles.shape[-2:]), (GRID * GRID, TILE, TILE))
    lead = tiles.shape[1:-2]
    split = np.moveaxis(tiles.reshape(GRID, GRID, *lead, TILE, TILE), (0, 1), (-4, -2))
    return np.ascontiguousarray(split).reshape(*lead, GRID * TILE, GRID * TILE)


def _expect(got: tuple[Any, ...], expected: tuple[int, ...]) -> None:
    if tuple(got) != expected:
        raise ValueError(f"grid of {GRID}x{GRID} tiles: expected {expected}, got {tuple(got)}")
