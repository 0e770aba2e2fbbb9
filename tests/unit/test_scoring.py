"""Scores against direct numpy computations: parts, statistics of normals, shifts, standardising, worst pixels."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from models.scoring import (
    LEAST_SD,
    SEVERE,
    NormalStatistics,
    NormalSums,
    ScoreConfig,
    fit_statistics,
    parts,
    shifted,
    standardise_one,
    sums,
    worst_mean,
    z_score,
)

SIZE = (9, 12)
PLAIN = ScoreConfig(sigma=0.0, mirrored=False, floor=0.0)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def residual(rng):
    return rng.normal(size=(5, *SIZE)).astype(np.float32)


@pytest.fixture
def scored(rng):
    return rng.random((5, *SIZE)) < 0.8


def test_unsigned_and_signed_parts(residual, scored):
    absolute = parts(residual, scored, PLAIN)
    assert absolute.shape == (5, 1, *SIZE)
    assert_allclose(absolute[:, 0], np.abs(residual) * scored, rtol=1e-6)
    bright, dark = np.moveaxis(parts(residual, scored, replace(PLAIN, signed=True)), 1, 0)
    assert_allclose(bright, np.where(residual > 0, residual, 0) * scored, rtol=1e-6)
    assert_allclose(bright - dark, residual * scored, rtol=1e-6)


def test_smoothing_is_a_mean_of_scored_pixels_only(residual, scored):
    config = replace(PLAIN, sigma=1.5)
    outside = np.where(scored, residual, 1e6).astype(np.float32)
    found = parts(outside, scored, config)[0, 0]
    weight = scored[0].astype(np.float64)
    top = ndimage.gaussian_filter(np.abs(residual[0]) * weight, 1.5)
    expected = top / ndimage.gaussian_filter(weight, 1.5) * weight
    assert_allclose(found, expected, rtol=1e-4)
    flat = parts(np.ones((1, *SIZE), np.float32), scored[:1], config)[0, 0]
    assert_allclose(flat[scored[0]], 1, rtol=1e-5)  # a mask's edge neither dims nor brightens
    assert_array_equal(flat[~scored[0]], 0)


@pytest.mark.parametrize(("offset", "moved"), [((0.2, -0.4), (0, 0)), ((2.0, -3.0), (2, -3)), ((-1.6, 1.4), (-2, 1))])
def test_shifted_moves_whole_pixels_and_repeats_the_border(residual, offset, moved):
    padded = np.pad(residual, ((0, 0), (4, 4), (4, 4)), mode="edge")
    rows, cols = 4 - moved[0], 4 - moved[1]
    expected = padded[:, rows : rows + SIZE[0], cols : cols + SIZE[1]]
    assert_array_equal(shifted(residual, offset), expected)


def test_statistics_are_mean_and_sd_over_scored_normals(residual, scored):
    scored[:, 0, 0] = True
    one = parts(residual, scored, PLAIN)
    found = fit_statistics(one, scored, np.zeros((5, 2)), PLAIN)
    seen = scored.any(axis=0)
    held = np.where(scored, np.abs(residual), np.nan)
    assert_allclose(found.mean[0][seen], np.nanmean(held[:, seen], axis=0), rtol=1e-5)
    assert_allclose(found.sd[0][seen], np.nanstd(held[:, seen], axis=0), atol=2e-4)


def test_mirrored_statistics_count_every_normal_twice(residual, scored):
    config = replace(PLAIN, mirrored=True)
    found = fit_statistics(parts(residual, scored, PLAIN), scored, np.zeros((5, 2)), config)
    both = np.concatenate([residual, residual[..., ::-1]])
    masks = np.concatenate([scored, scored[..., ::-1]])
    expected = fit_statistics(parts(both, masks, PLAIN), masks, np.zeros((10, 2)), PLAIN)
    assert_allclose(found.mean, expected.mean, rtol=1e-5)
    assert_allclose(found.sd, expected.sd, atol=1e-5)
    assert_allclose(found.mean, found.mean[..., ::-1], rtol=1e-5)


def test_an_image_can_be_taken_away_from_the_sums(residual, scored):
    config = replace(PLAIN, mirrored=True, signed=True)
    found = parts(residual, scored, config)

    def summed(*rows: int) -> NormalSums:
        return sums(found[list(rows)], scored[list(rows)], [(row - 2.0, 1.0) for row in rows], config)

    expected = summed(0, 1, 3, 4)
    for without in (summed(*range(5)) - summed(2), summed(2).taken_from(summed(*range(5)))):
        for name in ("total", "square", "count"):
            assert_allclose(getattr(without, name), getattr(expected, name), atol=1e-12)


def test_sums_bring_an_offset_image_to_the_reference_place():
    values = np.zeros((1, *SIZE), np.float32)
    values[0, 5, 6] = 3
    found = sums([values], [np.ones(SIZE, bool)], [(2.0, -1.0)], PLAIN)
    assert np.argwhere(found.total[0]).tolist() == [[3, 7]]
    assert found.square[0, 3, 7] == 9


def test_rarely_seen_places_take_the_nearest_place():
    count = np.full(SIZE, 10.0)
    count[:, 9:] = 1  # one normal of ten: below 15 %
    mean = np.arange(SIZE[1], dtype=float) * np.ones(SIZE)
    tall = NormalSums((mean * count)[None], ((mean**2 + 4) * count)[None], count)
    every = tall.statistics(PLAIN)
    assert_allclose(every.mean[0], mean, rtol=1e-6)
    found = tall.statistics(replace(PLAIN, rare=0.15))
    assert_allclose(found.mean[0, :, :9], mean[:, :9], rtol=1e-6)
    assert_allclose(found.mean[0, :, 9:], 8, rtol=1e-6)
    assert_allclose(found.sd, 2, rtol=1e-6)


def test_smooth_statistics_smooth_the_sums_and_the_counts(residual, scored):
    one = parts(residual, scored, PLAIN)
    total = sum((one[i, 0].astype(float) * scored[i] for i in range(5)), np.zeros(SIZE))
    count = ndimage.gaussian_filter(scored.sum(axis=0).astype(float), 2.0)
    found = fit_statistics(one, scored, np.zeros((5, 2)), replace(PLAIN, smooth=2.0))
    seen = scored.any(axis=0)
    assert_allclose(found.mean[0][seen], (ndimage.gaussian_filter(total, 2.0) / count)[seen], rtol=1e-5)


@pytest.mark.parametrize("shape", [(192, 192), (191, 203)])
def test_a_wide_smoothing_is_a_gaussian_within_a_thousandth(rng, shape):
    normals = ndimage.gaussian_filter(rng.random((4, 1, *shape)), (0, 0, 2, 2)).astype(np.float32)
    rows, cols = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    scored = np.repeat((np.hypot(rows, cols) < 0.9)[None], 4, axis=0)
    found = fit_statistics(normals, scored, np.zeros((4, 2)), replace(PLAIN, mirrored=False, smooth=32.0))
    total = (normals[:, 0].astype(float) * scored).sum(axis=0)
    square = (np.square(normals[:, 0].astype(float)) * scored).sum(axis=0)
    total, square, count = (ndimage.gaussian_filter(plane, 32.0) for plane in (total, square, 4.0 * scored[0]))
    mean, seen = total / count, scored[0]
    assert_allclose(found.mean[0][seen], mean[seen], rtol=1e-3)
    assert_allclose(found.sd[0][seen], np.sqrt(square / count - mean**2)[seen], rtol=1e-3)


def test_statistics_need_a_scored_pixel(residual, scored):
    nothing = np.zeros_like(scored)
    with pytest.raises(ValueError, match="at least one normal image with scored pixels"):
        fit_statistics(parts(residual, nothing, PLAIN), nothing, np.zeros((5, 2)), PLAIN)


def test_standardise_is_the_largest_part_in_units_of_sd_and_floor(rng, scored):
    smoothed = rng.random((3, 2, *SIZE)).astype(np.float32)
    statistics = NormalStatistics(
        rng.random((2, *SIZE)).astype(np.float32), rng.random((2, *SIZE)).astype(np.float32) + 0.1
    )
    config = replace(PLAIN, floor=0.3)
    floor = 0.3 * statistics.sd.mean(axis=(1, 2))[:, None, None]
    expected = ((smoothed[0] - statistics.mean) / (statistics.sd + floor)).max(axis=0)
    assert_allclose(
        standardise_one(smoothed[0], statistics, scored[0], (0, 0), config), expected * scored[0], rtol=1e-5
    )
    moved = (smoothed[2] - shifted(statistics.mean, (0, -2))) / (shifted(statistics.sd, (0, -2)) + floor)
    found = standardise_one(smoothed[2], statistics, scored[2], (0, -2), config)
    assert_allclose(found, moved.max(axis=0) * scored[2], rtol=1e-5)


def test_severity_lifts_every_scored_pixel_of_an_image_that_looks_ill(rng, scored):
    usual = NormalStatistics(np.zeros((1, *SIZE), np.float32), np.ones((1, *SIZE), np.float32))
    smoothed, weighed = rng.random((1, *SIZE)).astype(np.float32), replace(PLAIN, severity=0.5)
    spots = smoothed.copy()
    spots[0, 2:6, 2:6] = 9
    for values in (smoothed, spots):
        plain = standardise_one(values, usual, scored[0], (0, 0), PLAIN)
        lift = 0.5 * worst_mean(plain[None], scored[:1], replace(PLAIN, worst=SEVERE))[0]
        expected = np.where(scored[0], plain + lift, 0)
        assert_allclose(standardise_one(values, usual, scored[0], (0, 0), weighed), expected, rtol=1e-5)
    healthy, ill = (standardise_one(values, usual, scored[0], (0, 0), weighed) for values in (smoothed, spots))
    elsewhere = scored[0] & (spots == smoothed)[0]
    assert elsewhere.any()
    assert (ill > healthy + 1)[elsewhere].all()
    nowhere = np.zeros(SIZE, bool)
    assert_array_equal(standardise_one(spots, usual, nowhere, (0, 0), weighed), 0)


def test_a_part_that_no_normal_shows_gives_finite_scores():
    nothing = NormalStatistics(np.zeros((2, *SIZE), np.float32), np.zeros((2, *SIZE), np.float32))
    smoothed, everywhere = np.zeros((2, *SIZE), np.float32), np.ones(SIZE, bool)
    assert_array_equal(standardise_one(smoothed, nothing, everywhere, (0.0, 0.0), ScoreConfig()), 0)
    smoothed[1, 4, 4] = 1
    found = standardise_one(smoothed, nothing, everywhere, (0.0, 0.0), ScoreConfig())
    assert found[4, 4] == pytest.approx(1 / LEAST_SD)


@pytest.mark.parametrize("worst", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("minus_mean", [False, True])
def test_worst_mean_against_a_sort(residual, scored, worst, minus_mean):
    found = worst_mean(residual, scored, replace(PLAIN, worst=worst, minus_mean=minus_mean))
    for i in range(5):
        inside = np.sort(residual[i][scored[i]])[::-1]
        expected = inside[: max(1, round(worst * len(inside)))].mean() - minus_mean * inside.mean()
        assert found[i] == pytest.approx(expected, abs=1e-5)


def test_worst_mean_refuses_an_image_without_scored_pixels(residual, scored):
    scored[3] = False
    with pytest.raises(ValueError, match="image 3 of 5"):
        worst_mean(residual, scored, PLAIN)


def test_z_score_is_in_units_of_the_validation_normals():
    scores = np.array([1.0, 3.0, 9.0], np.float32)
    assert_allclose(z_score(scores, scores[:2]), [-1, 1, 7], rtol=1e-6)
    assert np.isfinite(z_score(scores, scores[:1])).all()


@pytest.mark.parametrize(
    "wrong", [{"worst": 0.0}, {"worst": 1.5}, {"sigma": -1.0}, {"smooth": -1.0}, {"floor": -0.1}, {"rare": 1.0}]
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="ScoreConfig"):
        ScoreConfig(**wrong)


def test_a_map_does_not_depend_on_the_memory_layout_of_the_statistics(rng):
    shape = (2, 400, 300)
    mean, sd = (rng.random(shape).astype(np.float32) for _ in range(2))
    turned = [np.asfortranarray(plane) for plane in (mean, sd)]
    smoothed, scored = rng.random(shape).astype(np.float32), np.ones(shape[1:], bool)
    config = ScoreConfig(signed=True, severity=0.2)
    one, other = (
        standardise_one(smoothed, NormalStatistics(*planes), scored, (0.0, 0.0), config)
        for planes in ((mean, sd), turned)
    )
    assert_array_equal(one, other)


def test_the_floor_is_a_share_of_the_exact_mean_sd(rng):
    sd = np.full((1, 2000, 2000), 0.1, np.float32)
    statistics = NormalStatistics(np.zeros_like(sd), np.asfortranarray(sd))
    found = standardise_one(np.ones_like(sd), statistics, np.ones(sd.shape[1:], bool), (0.0, 0.0), ScoreConfig(floor=1))
    assert_allclose(found, 5.0, rtol=1e-6)
