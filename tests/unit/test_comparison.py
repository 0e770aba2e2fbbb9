"""Paired differences of two scores on the same images, and Holm's correction."""

import numpy as np
import pytest

from models.metrics import auroc, holm, of_resamples, paired_difference


def scores(gain: float, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, groups of two, a score and one that shares its errors but is better by ``gain``."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], 60)
    shared = rng.normal(size=120)
    return labels, np.arange(120) // 2, shared + labels, shared + labels * (1 + gain) + noise * rng.normal(size=120)


def test_a_better_score_is_told_apart_though_its_own_interval_overlaps():
    labels, groups, first, second = scores(gain=0.4, noise=0.1, seed=0)
    found = paired_difference(labels, first, second, groups, rng=np.random.default_rng(0))
    assert found.value == pytest.approx(auroc(labels, second) - auroc(labels, first))
    assert 0 < found.low < found.value < found.high
    assert found.p < 0.01


def test_equal_scores_have_no_difference():
    labels, groups, first, _ = scores(gain=0, noise=0, seed=1)
    found = paired_difference(labels, first, first, groups, rng=np.random.default_rng(0))
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_the_other_way_round_is_the_negative():
    labels, groups, first, second = scores(gain=0.2, noise=0.3, seed=2)
    one = paired_difference(labels, first, second, groups, rng=np.random.default_rng(3))
    other = paired_difference(labels, second, first, groups, rng=np.random.default_rng(3))
    assert other.value == pytest.approx(-one.value)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))
    assert other.p == one.p


def test_groups_are_drawn_whole():
    """Copies of an image add no certainty where they share its group."""
    labels, _, first, second = scores(gain=0.3, noise=0.5, seed=4)
    copies = [np.repeat(values, 5) for values in (labels, first, second)]
    apart = paired_difference(*copies, np.arange(600), rng=np.random.default_rng(0))
    together = paired_difference(*copies, np.repeat(np.arange(120), 5), rng=np.random.default_rng(0))
    assert together.high - together.low > 1.7 * (apart.high - apart.low)


def test_p_is_right_about_as_often_as_it_says():
    """Two scores of equal quality differ at .05 in about one of twenty trials."""
    found = []
    for seed in range(60):
        labels, groups, first, second = scores(gain=0, noise=0, seed=seed)
        noise = np.random.default_rng(1000 + seed).normal(size=(2, 120))
        drawn = (labels, first + noise[0], second + noise[1], groups)
        found.append(paired_difference(*drawn, n=200, rng=np.random.default_rng(0)).p)
    assert np.mean(np.array(found) < 0.05) < 0.17
    assert np.mean(np.array(found) < 0.5) > 0.25


def test_resamples_without_a_value_are_left_out():
    found = of_resamples(0.2, [0.5, None, 0.6, 0.4], [0.7, 0.7, None, 0.6])
    assert (found.low, found.high) == pytest.approx((0.2, 0.2))
    assert found.p == pytest.approx(2 / 3)
    assert np.isnan(of_resamples(0.1, [None], [None]).p)


def test_wrong_lengths_are_refused():
    with pytest.raises(ValueError, match=r"equally long, got \(2,\) and \(3,\)"):
        of_resamples(0.0, [0.1, 0.2], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="4 images, 3 groups"):
        paired_difference([0, 1, 0, 1], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3], rng=np.random.default_rng(0))


def test_holm_corrects_by_rank_and_never_falls():
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": float("nan")})
    assert corrected["a"] == pytest.approx(0.03)
    assert corrected["c"] == pytest.approx(0.06)
    assert corrected["b"] == pytest.approx(0.06)
    assert np.isnan(corrected["d"])
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
