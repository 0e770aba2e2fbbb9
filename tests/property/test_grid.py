"""A canvas is cut into tiles without overlap or gap."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.forms.form import TILE, slots
from pipeline.forms.fundus import GRID, cut_grid

SIDE = GRID * TILE


@settings(max_examples=15)
@given(
    lead=st.lists(st.integers(1, 3), max_size=2),
    dtype=st.sampled_from([np.uint8, np.float32, np.bool_]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_tiles_side_by_side_are_the_canvas(lead: list[int], dtype: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    canvas = rng.integers(0, 2 if dtype is np.bool_ else 256, (*lead, SIDE, SIDE)).astype(dtype)
    tiles = cut_grid(canvas)
    assert tiles.shape == (GRID * GRID, *lead, TILE, TILE)
    assert tiles.dtype == canvas.dtype
    np.testing.assert_array_equal(np.block([list(tiles[GRID * row :][:GRID]) for row in range(GRID)]), canvas)


@settings(max_examples=50)
@given(row=st.integers(0, SIDE - 1), col=st.integers(0, SIDE - 1))
def test_a_canvas_pixel_lies_in_the_tile_of_its_slot(row: int, col: int) -> None:
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    canvas[row, col] = 1
    tiles = cut_grid(canvas)
    places = list(slots({"field": (GRID, GRID)}))
    hit = [place for place, tile in zip(places, tiles, strict=True) if tile.any()]
    assert [(place.row, place.col) for place in hit] == [(row // TILE, col // TILE)]
    assert tiles[hit[0].row * GRID + hit[0].col, row % TILE, col % TILE] == 1
