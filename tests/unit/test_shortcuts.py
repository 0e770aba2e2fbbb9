"""Shortcut controls measure the file and the form, tile rows in any order."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.shortcuts import SHORTCUTS, high_frequency, shortcut_table, tile_sums
from pipeline.forms.form import NO_DATA, SCORED, SEEN
from pipeline.tiles.loading import TileSet

SIDE = 64


@pytest.fixture
def manifest():
    return pd.DataFrame(
        {"image_id": ["a", "b", "c"], "bytes": [900, 400, 7], "width": [512, 300, 1], "height": [256, 300, 1]}
    )


@pytest.fixture
def tiles():
    rng = np.random.default_rng(0)
    y = np.linspace(0, 255, SIDE)[:, None] + np.zeros(SIDE)
    smooth, rough = y.astype(np.uint8), rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    pixels = np.stack([smooth, rough, smooth, rough])[:, None]
    validity = np.full((4, SIDE, SIDE), SCORED, np.uint8)
    validity[1, : SIDE // 2] = SEEN
    return TileSet(pixels, None, validity, pd.DataFrame({"image_id": ["b", "a", "b", "a"]}))


def sums(tiles):
    return pd.DataFrame([{"image_id": image_id, **result.values} for image_id, result in tile_sums(tiles)])


def test_columns_are_shortcut_scores_one_row_an_image_in_tile_order(manifest, tiles):
    table = shortcut_table(manifest, sums(tiles))
    assert list(table.columns) == ["image_id", *SHORTCUTS]
    assert list(table["image_id"]) == ["b", "a"]
    row = table.set_index("image_id").loc["a"]
    assert row["bytes"] == 900
    assert row["pixels"] == 512 * 256
    assert row["aspect"] == 2
    assert row["valid_fraction"] == 0.75
    assert table.set_index("image_id")["high_frequency"].rank().to_dict() == {"b": 1, "a": 2}


def test_the_border_of_the_invalid_region_is_no_texture():
    pixels = np.full((2, 1, SIDE, SIDE), 200, np.uint8)
    validity = np.full((2, SIDE, SIDE), SCORED, np.uint8)
    validity[1, :20] = NO_DATA
    pixels[1, :, :20] = 0
    energy = high_frequency(pixels, validity)
    assert energy[:, 0] == pytest.approx([0, 0], abs=1e-6)
    assert list(energy[:, 1]) == [SIDE**2, SIDE * (SIDE - 20)]


def test_refusals(manifest, tiles):
    with pytest.raises(ValueError, match="not in the manifest, such as 'b'"):
        shortcut_table(manifest[manifest["image_id"] != "b"], sums(tiles))
    unscored = replace(tiles, validity=np.full_like(tiles.validity, SEEN))
    with pytest.raises(ValueError, match="without a scored pixel"):
        shortcut_table(manifest, sums(unscored))
