"""Cutting a canvas into tiles and stitching them are exact inverses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.forms.form import TILE, slots
from pipeline.forms.grid import GRID, cut_grid, stitch_grid

SIDE = GRID * TILE


@settings(max_examples=15, deadline=None)
@given(
    lead=st.lists(st.integers(1, 3), max_size=2),
    dtype=st.sampled_from([np.uint8, np.float32, np.bool_]),
    seed=st.integers(0, 2**32 - 1),
)
def test_cut_and_stitch_are_inverses(lead: list[int], dtype: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    canvas = rng.integers(0, 2 if dtype is np.bool_ else 256, (*lead, SIDE, SIDE)).astype(dtype)
    tiles = cut_grid(canvas)
    assert tiles.shape == (GRID * GRID, *lead, TILE, TILE)
    assert tiles.dtype == canvas.dtype
    np.testing.assert_array_equal(stitch_grid(tiles), canvas)
    np.testing.assert_array_equal(cut_grid(stitch_grid(tiles)), tiles)


@settings(max_examples=50, deadline=None)
@given(row=st.integers(0, SIDE - 1), col=st.integers(0, SIDE - 1))
def test_a_canvas_pixel_lies_in_the_tile_of_its_slot(row: int, col: int) -> None:
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    canvas[row, col] = 1
    tiles = cut_grid(canvas)
    places = list(slots({"field": (GRID, GRID)}))
    hit = [place for place, tile in zip(places, tiles, strict=True) if tile.any()]
    assert [(place.row, place.col) for place in hit] == [(row // TILE, col // TILE)]
    assert tiles[hit[0].row * GRID + hit[0].col, row % TILE, col % TILE] == 1


@pytest.mark.parametrize("shape", [(SIDE, SIDE - 1), (TILE, TILE), (3, 700, 700)])
def test_other_sizes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        cut_grid(np.zeros(shape, np.uint8))


def test_a_missing_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        stitch_grid(np.zeros((8, TILE, TILE), np.uint8))
