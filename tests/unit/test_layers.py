"""What an evaluation keeps for the page: a thumbnail of every scored image, layers of the cases and of a sample."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import zarr
from PIL import Image

from pipeline.detectors.standardise import HEAT_RANGE
from pipeline.evaluation.carried import Carried, ImageDigests
from pipeline.evaluation.layers import LAYERS, SAMPLED, THUMB, picture_table
from pipeline.evaluation.pictures import Shown, ShownImages
from pipeline.evaluation.saved import PICTURE_COLUMNS, THUMBNAIL
from pipeline.forms.form import SCORED, TILE
from pipeline.store.shards import create, open_array, write_rows
from pipeline.store.versions import Version

COUNT, SIDE = 24, 32
SCORE = "proxyano:standardised"
HOT = 4.0  # sd, of every map's left half


@pytest.fixture(scope="module")
def table():
    split = ["val"] * 4 + ["holdout"] * 6 + ["test"] * 14
    found = pd.DataFrame({"image_id": [f"i{n:02d}" for n in range(COUNT)], "split": split})
    found["label"] = [0] * 14 + [1] * 10
    found["klass"] = np.where(found["label"] == 1, "CNV", "normal")
    found["group"] = found["image_id"]
    found[SCORE] = np.arange(COUNT, dtype=float)
    return found


@pytest.fixture(scope="module")
def levels():
    """Gray level of each image's tile."""
    return np.linspace(20, 230, COUNT).astype(np.uint8)


@pytest.fixture(scope="module")
def tiles(table, levels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    block = np.repeat(levels, TILE * TILE).reshape(COUNT, 1, TILE, TILE)
    create(zarr.open_group(folder, mode="w", attributes={"neutral": 0}), "pixels", block.shape, shard=8, level=1)
    write_rows(open_array(folder, "pixels", "r+"), 0, block)
    create(zarr.open_group(folder), "validity", (COUNT, TILE, TILE), shard=8, level=1)
    write_rows(open_array(folder, "validity", "r+"), 0, np.full((COUNT, TILE, TILE), SCORED, np.uint8))
    index = table.assign(tile=range(COUNT), canvas="head", canvas_row=0, canvas_col=0, offset_row=0.0, offset_col=0.0)
    index.to_parquet(folder / "index.parquet")
    return Version(asset="x/tiles", path=folder, data_version="a" * 16, meta={})


@pytest.fixture(scope="module")
def pictures(table, levels, tiles, tmp_path_factory):
    heat = np.zeros((SIDE, SIDE), np.float32)
    heat[:, : SIDE // 2], heat[0, 0] = HOT, 100.0
    scored = np.ones((SIDE, SIDE), bool)
    scored[-2:] = False
    mask = np.zeros((TILE, TILE), bool)
    mask[:9] = True
    planes = {
        name: np.full((SIDE, SIDE), level / np.float32(255))
        for name, level in zip(table["image_id"], levels, strict=True)
    }
    known = {
        ("head", name): Shown(
            np.full((TILE, TILE), level, np.uint8),
            plane,
            plane / 2,
            plane / 4,
            heat,
            scored,
            mask if name == "i23" else None,
        )
        for (name, plane), level in zip(planes.items(), levels, strict=True)
    }
    scoreboard = SimpleNamespace(inputs=SimpleNamespace(tiles=tiles, digests=ImageDigests(tiles, tiles)))
    shown = ShownImages(scoreboard, {"head": None}, Carried(tmp_path_factory.mktemp("carried")), "", known)
    return picture_table(shown, table[1:], SCORE, 3, (SIDE, SIDE))


def opened(pictures, image_id, layer):
    (data,) = pictures.query("image_id == @image_id and layer == @layer")["data"]
    return np.asarray(Image.open(io.BytesIO(data)))


def test_every_image_of_the_table_has_a_thumbnail(pictures, table):
    small = pictures[pictures["layer"] == THUMBNAIL]
    assert list(small["image_id"]) == list(table["image_id"])[1:]
    assert set(small["kind"]) == {""}
    assert tuple(pictures.columns) == PICTURE_COLUMNS


def test_thumbnails_show_their_own_image(pictures, levels):
    for row in (1, 12, 23):
        shown = opened(pictures, f"i{row:02d}", THUMBNAIL)
        assert shown.shape[:2] == (THUMB, THUMB)
        assert abs(shown.mean() - levels[row]) < 2


def test_layers_are_kept_of_the_cases_and_of_images_no_score_chose(pictures):
    drawn = pictures[pictures["layer"] != THUMBNAIL].drop_duplicates("image_id").set_index("image_id")["kind"]
    assert list(drawn[drawn == "found"].index) == ["i23", "i22", "i21"]
    assert list(drawn[drawn == "missed"].index) == ["i14", "i15", "i16"]
    assert list(drawn[drawn == "false alarm"].index) == ["i13", "i12", "i11"]
    assert list(drawn[drawn == "ordinary"].index) == ["i04", "i05", "i06"]
    assert len(drawn[drawn == SAMPLED]) > 0


def test_layers_have_their_sizes_and_values(pictures, levels):
    assert opened(pictures, "i22", "input").shape[:2] == (TILE, TILE)
    assert abs(opened(pictures, "i22", "input").mean() - levels[22]) < 2
    assert np.array_equal(opened(pictures, "i22", "proxy"), np.full((SIDE, SIDE), round(levels[22] / 2), np.uint8))
    assert abs(opened(pictures, "i22", "reconstruction").astype(float) - levels[22] / 4).max() <= 0.5
    held = pictures[(pictures["image_id"] == "i23") & (pictures["layer"] != THUMBNAIL)]
    assert tuple(held["layer"]) == LAYERS


def test_heat_stands_on_the_fixed_range_and_truth_is_the_mask(pictures):
    heat, seen = np.moveaxis(opened(pictures, "i23", "heat"), -1, 0)
    assert set(seen[:-2].ravel()) == {255}
    assert set(seen[-2:].ravel()) == {0}  # not looked at
    low, high = HEAT_RANGE
    assert heat[1, 1] == round(255 * (HOT - low) / (high - low))  # one hot pixel does not dim the others
    assert (heat[0, 0], heat[1, -1]) == (255, 0)
    truth = opened(pictures, "i23", "truth")
    assert truth.shape == (TILE, TILE)
    assert truth[:9].all()
    assert not truth[9:].any()
