"""R² of proxies and reconstructions, repaired alterations, memory use: known answers on small arrays."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from models.synthetic_anomalies import LesionConfig
from pipeline.detectors.images import stitched
from pipeline.evaluation import fidelity
from pipeline.evaluation.fidelity import (
    PATCH,
    covered,
    image_rows,
    patched_tiles,
    r_squared,
    repair_rows,
    repaired_share,
)
from pipeline.evaluation.pasted_lesions import KINDS, PastedConfig, with_lesions
from pipeline.evaluation.reconstruction import (
    defined_mean,
    mean_figures,
    perplexity,
    pixel_sums,
    pooled_r_squared,
    subsets,
)
from pipeline.evaluation.records import RecordContext
from pipeline.forms.form import NO_DATA, SCORED, TILE
from pipeline.tiles.loading import TileSet

RAMP = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
ALL = np.ones((4, 4), bool)
CONTEXT = RecordContext(dataset="eyes", preset="p", seed=0, data_version="d", resamples=100)


def tile_set(count, side, *, grid=1, split="val", proxies=False, seed=0):
    """``count`` images of grid × grid tiles of random codes."""
    rng = np.random.default_rng(seed)
    rows = [
        {"image_id": f"i{n}", "split": split, "label": 0, "klass": "normal", "group": f"g{n}", "canvas": "whole"}
        | {"canvas_row": r, "canvas_col": c, "offset_row": 0.0, "offset_col": 0.0, "tile": 0}
        for n in range(count)
        for r in range(grid)
        for c in range(grid)
    ]
    pixels = rng.integers(60, 200, (len(rows), 1, side, side), dtype=np.uint8)
    validity = np.full((len(rows), side, side), SCORED, np.uint8)
    return TileSet(pixels, pixels // 2 if proxies else None, validity, pd.DataFrame(rows))


class Stub:
    """A network whose reconstruction is a function of the image; its proxy is half of the image."""

    canvas, neutral = "whole", 0
    method = SimpleNamespace(needs_proxy=False)

    def __init__(self, size, rebuild):
        self.size, self.rebuild = size, rebuild

    def maps(self, held):
        images = stitched(held, self.canvas)
        made = np.stack([self.rebuild(image) for image in images.gray]).astype(np.float32)
        residual = images.gray - made
        return SimpleNamespace(
            images=images, reconstruction=made, residual=residual, steady=residual, proxy=images.gray / 2
        )


def test_r_squared_of_known_estimates():
    assert r_squared(RAMP, RAMP, ALL) == 1
    assert r_squared(np.full_like(RAMP, RAMP.mean()), RAMP, ALL) == pytest.approx(0, abs=1e-6)
    assert r_squared(1 - RAMP, RAMP, ALL) == pytest.approx(-3)  # twice the deviation, missed: 1 - 4
    half = RAMP < 0.5
    assert r_squared(np.where(half, RAMP, 9), RAMP, half) == 1, "outside the mask nothing counts"


@pytest.mark.parametrize(("truth", "inside"), [(np.full_like(RAMP, 0.3), ALL), (RAMP, ~ALL)])
def test_r_squared_of_a_constant_image_or_an_empty_mask_is_undefined(truth, inside):
    assert np.isnan(r_squared(RAMP, truth, inside))


def test_repaired_share_is_one_for_the_normal_and_zero_for_the_alteration():
    image, mask = np.zeros((4, 4), np.float32), np.zeros((4, 4), bool)
    mask[1:3, 1:3] = True
    altered = np.where(mask, 0.4, image).astype(np.float32)
    assert repaired_share(image, altered, image, mask) == 1
    assert repaired_share(altered, altered, image, mask) == 0
    assert repaired_share(altered / 2, altered, image, mask) == pytest.approx(0.75)
    assert repaired_share(2 * altered, altered, image, mask) == pytest.approx(-3)
    assert repaired_share(np.where(mask, image, 1), altered, image, mask) == 1, "only the mask counts"
    assert np.isnan(repaired_share(image, altered, image, np.zeros_like(mask)))
    assert np.isnan(repaired_share(image, image, image, mask)), "nothing was altered"


def test_pooled_r_squared_counts_pixels_and_not_images():
    truth, estimate = np.array([[0.0, 1.0, 2.0, 3.0]], np.float32), np.array([[0.0, 1.0, 2.0, 2.0]], np.float32)
    parts = [np.array([[True, True, False, False]]), np.array([[False, False, True, True]])]
    sums = np.stack([pixel_sums(estimate, truth, part) for part in parts])
    assert_allclose(pooled_r_squared(np.array([[1.0, 1.0], [1.0, 0.0]]), sums), [1 - 1 / 5, 1])
    flat = pixel_sums(estimate, np.ones_like(truth), parts[0])
    assert np.isnan(pooled_r_squared(np.ones((1, 1)), flat[None])[0])


def test_perplexity_of_equal_and_single_items():
    assert_allclose(perplexity(np.array([[5.0, 5, 5, 5], [7, 0, 0, 0]])), [4, 1])


def test_means_leave_out_what_is_undefined_and_draw_whole_groups():
    values = np.array([0.0, 1.0, np.nan])
    value, low, high, n = defined_mean(values, np.array(["a", "b", "c"]), CONTEXT)
    assert (value, n) == (0.5, 2)
    assert 0 <= low < 0.5 < high <= 1
    value, low, high, n = defined_mean(values, np.array(["a", "a", "c"]), CONTEXT)
    assert (value, n) == (0.5, 2)
    assert np.isnan([low, high]).all()
    assert defined_mean(np.array([np.nan]), np.array(["a"]), CONTEXT).n == 0


def test_held_out_normals_stand_in_where_the_test_has_none():
    table = pd.DataFrame({"split": ["val", "holdout", "test"], "label": [0, 0, 1]})
    assert list(subsets(table)) == ["validation normals", "holdout normals", "test abnormal"]
    more = pd.concat([table, pd.DataFrame({"split": ["test"], "label": [0]})])
    assert list(subsets(more)) == ["validation normals", "test normals", "test abnormal"]


def test_blocks_keep_the_tiles_of_an_image_together():
    held = tile_set(5, 4, grid=2)
    parts = list(held.blocks(2))
    assert [part.index["image_id"].nunique() for part in parts] == [2, 2, 1]
    assert all((part.index["image_id"].value_counts() == 4).all() for part in parts)
    assert_array_equal(np.concatenate([part.pixels for part in parts]), held.pixels)


def test_rows_of_images_hold_the_three_figures():
    held = tile_set(3, 8, proxies=True)
    rows = image_rows(Stub((8, 8), lambda image: np.full_like(image, image.mean())), held)
    table = pd.DataFrame(rows)
    assert list(table["image_id"]) == ["i0", "i1", "i2"]
    assert_allclose(table["reconstruction_r2"], 0, atol=1e-5)
    assert (table["proxy_r2"] > 0.99).all(), "P̂ and P are both half of the image, but for rounding"
    assert (table["proxy_ceiling_r2"] < 0).all()
    figures = mean_figures(rows, ("proxy_r2", "reconstruction_r2"), CONTEXT)
    assert [(metric, subset, measured.n) for metric, subset, measured in figures] == [
        ("proxy_r2", "validation normals", 3),
        ("reconstruction_r2", "validation normals", 3),
    ]


def test_a_method_that_rebuilds_nothing_has_no_figures():
    assert image_rows(Stub((8, 8), lambda image: image), tile_set(2, 8)) == []
    assert list(mean_figures([], ("proxy_r2",), CONTEXT)) == []


def test_a_constant_image_leaves_no_record():
    held = tile_set(2, 8)
    held.pixels[:] = 128
    rows = image_rows(Stub((8, 8), lambda image: image + 0.1), held)
    assert np.isnan([row["reconstruction_r2"] for row in rows]).all()
    assert list(mean_figures(rows, ("reconstruction_r2",), CONTEXT)) == []


def test_a_patch_lies_in_its_mask_and_comes_from_another_tile():
    held = tile_set(2, 32)
    held.pixels[0], held.pixels[1] = 50, 200
    held.validity[:, :4] = NO_DATA
    patched, mask = patched_tiles(held, torch.Generator().manual_seed(0))
    assert mask.any(axis=(1, 2)).all()
    assert not mask[:, :4].any()
    assert (patched.pixels[0, 0][mask[0]] == 200).all()
    assert (patched.pixels[1, 0][mask[1]] == 50).all()
    assert_array_equal(patched.pixels[:, 0][~mask], held.pixels[:, 0][~mask])


def test_lesions_are_cut_back_into_the_tiles_of_their_canvas():
    full = tile_set(2, TILE, grid=2)
    lesion = LesionConfig(radius=(0.1, 0.2), strength=(0.3, 0.3), kinds=("square",))
    changed, masks = with_lesions(full, "whole", [lesion] * 2, False, np.random.default_rng(0))
    before, after = (stitched(held, "whole").gray for held in (full, changed))
    for row, mask in enumerate(masks):
        assert mask.any()
        assert_array_equal(before[row] != after[row], mask)


@pytest.mark.parametrize(("cells", "count"), [(slice(0, 32), 64), (slice(8, 12), 1), (slice(0, 0), 0)])
def test_a_mask_keeps_a_cell_however_small_it_is(cells, count):
    mask = np.zeros((32, 32), bool)
    mask[cells, cells] = True
    assert covered(mask, (8, 8)).sum() == count
    if count == 1:
        mask[8, 8] = True
        mask[9:12, 8:12] = mask[8, 9:12] = False
        assert covered(mask, (8, 8)).sum() == 1


def test_an_image_that_was_hardly_altered_hardly_counts():
    rows = [{"image_id": n, "group": n, "subset": "streak"} for n in "abc"]
    shares, weights = (0.9, 0.8, -50.0), (100.0, 50.0, 0.5)
    rows = [row | {"repair": s, "weight": w} for row, s, w in zip(rows, shares, weights, strict=True)]
    ((name, subset, found),) = mean_figures(rows, ("repair",), CONTEXT)
    assert (name, subset, found.n) == ("repair", "streak", 3)
    assert found.value == pytest.approx((90 + 40 - 25) / 150.5)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(("rebuilt", "least", "most"), [("normal", 0.9, 1.0), ("altered", -0.1, 0.1)])
def test_every_alteration_is_measured(monkeypatch, rebuilt, least, most):
    full = tile_set(4, TILE)
    full.pixels[:] = np.array([100, 110, 120, 130], np.uint8)[:, None, None, None]
    monkeypatch.setattr(fidelity, "load_tiles", lambda *args, **more: full)
    # normals are constant: a network that repairs gives back the median, another what it sees
    ways = {
        "normal": lambda image: np.full_like(image, np.median(image)) + 0.004,
        "altered": lambda image: image + 0.004,
    }
    config = PastedConfig(lesions=LesionConfig(radius=(0.1, 0.2), strength=(0.3, 0.3), kinds=KINDS))
    rows = pd.DataFrame(repair_rows(Stub((64, 64), ways[rebuilt]), SimpleNamespace(path=None), config))
    assert set(rows["subset"]) == {PATCH, "streak", "square"}
    means = rows.groupby("subset")["repair"].mean()
    assert means["square"] == pytest.approx(1 if rebuilt == "normal" else 0, abs=0.1)
    assert least <= means["streak"] <= most
    for _, row in rows.iterrows():  # the constant change of a square of strength .3, on scored pixels alone
        assert row["weight"] > 0
    alone = pd.DataFrame(repair_rows(Stub((64, 64), ways[rebuilt]), SimpleNamespace(path=None), None))
    assert set(alone["subset"]) == {PATCH}
