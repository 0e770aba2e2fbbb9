"""From residuals to scores: canvases stitched of tiles, and validation images scored by the other normals."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import zarr
from numpy.testing import assert_allclose, assert_array_equal

from models.scoring import ScoreConfig, fit_statistics, parts, standardise_one, worst_mean, z_score
from pipeline.detectors.contract import PixelMaps
from pipeline.detectors.images import CanvasImages, enlarge, stitched
from pipeline.detectors.standardise import SimilarNormals, Standardiser
from pipeline.errors import DatasetUnusable
from pipeline.forms.form import NO_DATA, SCORED, SEEN, TILE
from pipeline.store.shards import create
from pipeline.store.versions import Version
from pipeline.tiles.loading import load_tiles

SPLITS = ["val", "val", "val", "holdout", "test", "test"]
CONFIG = ScoreConfig(signed=True, sigma=0.7, worst=0.1, floor=0.1)
H, W = 12, 10


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def images(rng):
    count = len(SPLITS)
    table = pd.DataFrame({"image_id": list("abcdef"), "split": SPLITS, "label": [0, 0, 0, 0, 0, 1], "klass": "x"})
    table = table.assign(group=table["image_id"], offset_row=rng.integers(-2, 3, count).astype(float), offset_col=1.0)
    validity = np.full((count, H, W), SCORED, np.uint8)
    validity[:, 0], validity[:, :, 0] = NO_DATA, SEEN
    return CanvasImages(table, rng.random((count, 3, H, W)).astype(np.float32), None, validity)


@pytest.fixture
def residual(rng):
    return rng.normal(size=(len(SPLITS), H, W)).astype(np.float32)


class Result:
    """All images standardised by the validation normals among them."""

    def __init__(self, images, residual, config=CONFIG, *, keep=True):
        rows = np.flatnonzero(images.images["split"] == "val")
        normals = CanvasImages(
            images.images.iloc[rows].reset_index(drop=True), images.pixels[rows], None, images.validity[rows]
        )
        found = PixelMaps(normals, parts(residual[rows], normals.scored, config))
        self.standardiser, self.normal_maps = Standardiser.fit(found, config, keep=keep)
        self.maps = self.standardiser.maps(PixelMaps(images, parts(residual, images.scored, config)))
        self.image = self.standardiser.z(self.standardiser.scores(images, self.maps))


def offsets(images, rows):
    return images.images[["offset_row", "offset_col"]].to_numpy()[rows]


def direct_map(images, residual, row, normals):
    """Map of one image by the statistics of the given normals, all at once."""
    smoothed = parts(residual, images.scored, CONFIG)
    statistics = fit_statistics(smoothed[normals], images.scored[normals], offsets(images, normals), CONFIG)
    return standardise_one(smoothed[row], statistics, images.scored[row], images.offset(row), CONFIG)


def test_a_validation_image_is_scored_by_the_other_normals(images, residual):
    found = Result(images, residual)
    for row, normals in ((0, [1, 2]), (1, [0, 2]), (2, [0, 1])):
        assert_allclose(found.maps[row], direct_map(images, residual, row, normals), rtol=1e-3, atol=1e-3)
    assert not np.allclose(found.maps[0], direct_map(images, residual, 0, [0, 1, 2]), atol=1e-2)


def test_normals_give_the_same_maps_when_they_are_fitted_and_when_they_are_scored_again(images, residual):
    found = Result(images, residual)
    assert_array_equal(np.stack(found.normal_maps), np.stack(found.maps[:3]))
    forgot = Result(images, residual, keep=False)  # as read from a folder: all normals count
    assert_array_equal(np.stack(forgot.normal_maps), np.stack(found.normal_maps))
    assert_allclose(forgot.maps[0], direct_map(images, residual, 0, [0, 1, 2]), rtol=1e-3, atol=1e-3)


def test_other_images_are_scored_by_all_validation_normals(images, residual):
    found = Result(images, residual)
    for row in (3, 4, 5):
        assert_allclose(found.maps[row], direct_map(images, residual, row, [0, 1, 2]), rtol=1e-3, atol=1e-3)


def test_image_scores_are_the_worst_pixels_of_the_maps_in_units_of_validation_normals(images, residual):
    found = Result(images, residual)
    maps = np.stack(found.maps)
    raw = worst_mean(maps, images.scored, CONFIG)
    assert_allclose(found.image, z_score(raw, raw[:3]), rtol=1e-5)
    assert found.image[:3].mean() == pytest.approx(0, abs=1e-5)


def test_test_images_move_no_score_of_others(images, residual):
    changed = residual.copy()
    changed[5] += 4
    before = Result(images, residual)
    after = Result(images, changed)
    assert_array_equal(before.image[:5], after.image[:5])
    assert after.image[5] > before.image[5]


def test_maps_are_zero_where_nothing_is_scored(images, residual):
    found = Result(images, residual).maps[4]
    assert_array_equal(found[~images.scored[4]], 0)


def test_one_validation_normal_is_too_few(images, residual):
    images.images["split"] = ["val", *["test"] * 5]
    with pytest.raises(DatasetUnusable, match="validation normals of two groups or more, got 1"):
        Result(images, residual)


def test_gray_is_green_of_three_channels(images):
    assert_array_equal(images.gray, images.pixels[:, 1])
    assert_array_equal(images.seen, images.validity > NO_DATA)


def test_canvases_are_stitched_and_offsets_scaled(tmp_path):
    index = pd.DataFrame(
        [
            {"tile": 4 * i + 2 * r + c, "image_id": f"id{i}", "slot": f"field/{r}{c}", "canvas": "field"}
            | {"canvas_row": r, "canvas_col": c, "split": split, "label": 0, "klass": "normal", "group": f"g{i}"}
            | {"transform": json.dumps({}), "offset_row": 16.0, "offset_col": -8.0, "scored_fraction": 1.0}
            for i, split in enumerate(["val", "test", "train"])
            for r in range(2)
            for c in range(2)
        ]
    )
    group = zarr.open_group(tmp_path, mode="w", attributes={"neutral": 0})
    create(group, "pixels", (12, 1, TILE, TILE), shard=4, level=1)
    create(group, "validity", (12, TILE, TILE), shard=4, level=1)
    group["pixels"][:] = np.broadcast_to(np.arange(12, dtype=np.uint8)[:, None, None, None] * 20, (12, 1, TILE, TILE))
    group["validity"][:] = SCORED
    index.to_parquet(tmp_path / "index.parquet")
    tiles = Version(asset="eyes/tiles", path=tmp_path, data_version="0" * 16, meta={})
    found = stitched(load_tiles(tiles, None, canvas="field", splits=["val", "test"], size=(64, 32)), "field")
    assert list(found.images["image_id"]) == ["id0", "id1"]
    assert found.pixels.shape == (2, 1, 128, 64)
    corners = [[found.pixels[i, 0, r, c] * 255 for r in (0, -1) for c in (0, -1)] for i in (0, 1)]
    assert_allclose(corners, [[0, 20, 40, 60], [80, 100, 120, 140]], atol=1e-3)
    assert found.offset(0) == (4.0, -1.0)


def test_enlarge_is_bilinear_and_leaves_equal_sizes_alone():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert enlarge(values, (3, 4)) is values
    larger = enlarge(values, (6, 8))
    assert larger.shape == (6, 8)
    assert larger.mean() == pytest.approx(values.mean(), rel=1e-5)


def test_similar_normals_leave_an_images_own_group_out(images, residual):
    config = replace(CONFIG, similar=1, mirrored=False)
    found = Result(images, residual, config)
    smoothed = parts(residual, images.scored, config)
    normals = SimilarNormals(images.gray[1:3], images.scored[1:3], smoothed[1:3], offsets(images, [1, 2]), config)
    usual = normals.statistics(images.gray[0], images.scored[0])
    wanted = standardise_one(smoothed[0], usual, images.scored[0], images.offset(0), config)
    assert_allclose(found.maps[0], wanted, rtol=1e-3, atol=1e-3)
    plain = Result(images, residual)
    assert not np.allclose(plain.maps[4], found.maps[4], atol=1e-2)
