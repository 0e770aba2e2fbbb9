"""Whatever the membrane's shape and the file's frame, the OCT form's transform and codes hold together."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.forms.form import NO_DATA, TILE, TileTransform
from pipeline.forms.oct import BruchMembraneForm

FORM = BruchMembraneForm()


def b_scan(width: int, height: int, level: float, tilt: float, bend: float, seed: int) -> np.ndarray:
    x = np.arange(width) - (width - 1) / 2
    depth = (level * height + tilt * x - bend * (x / 256) ** 2) - np.arange(height)[:, None]
    gray = np.select([depth > 130, depth > 14, depth > 0], [15.0, 80.0, 200.0], 45.0)
    return np.clip(gray + np.random.default_rng(seed).normal(0, 8, gray.shape), 0, 235).astype(np.uint8)


@settings(max_examples=15)
@given(
    width=st.integers(300, 900),
    height=st.integers(400, 600),
    level=st.floats(0.5, 0.75),
    tilt=st.floats(-0.2, 0.2),
    bend=st.floats(-30, 60),
    white=st.integers(0, 60),
    seed=st.integers(0, 99),
)
def test_tiles_hold_together(width, height, level, tilt, bend, white, seed):
    image = b_scan(width, height, level, tilt, bend, seed)
    image[:white] = 255
    for tile in FORM.cut(image, {}):
        empty = tile.validity == NO_DATA
        assert (tile.pixels[0][empty] == FORM.neutral).all()
        transform = TileTransform.from_json(tile.transform.to_json())
        rows, cols = np.mgrid[:TILE:15, :TILE:15].astype(float)
        ys, xs = transform.to_image(rows, cols)
        assert np.allclose(transform.to_tile(ys, xs), (rows, cols), atol=1e-6)
        margin = 2  # px: half a cell, and the half share that makes a cell valid
        outside = (ys < white - margin) | (ys > height - 1 + margin) | (xs < -margin) | (xs > width - 1 + margin)
        assert empty[::15, ::15][outside].all()
        places = np.meshgrid(np.arange(0.0, height, 37), np.arange(0.0, width, 41), indexing="ij")
        rows, cols = transform.to_tile(*places)
        inside = (abs(rows - (TILE - 1) / 2) <= TILE / 2) & (abs(cols - (TILE - 1) / 2) <= TILE / 2)
        expected = ndimage.map_coordinates(tile.pixels[0].astype(np.float32), [rows, cols], order=1, mode="nearest")
        painted = transform.paint(tile.pixels[0].astype(np.float32))[::37, ::41]
        np.testing.assert_allclose(painted, np.where(inside, expected, np.nan), atol=1e-3)
