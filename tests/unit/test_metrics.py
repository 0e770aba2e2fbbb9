"""Metrics and intervals against scikit-learn and against plain loops."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score

from models import metrics
from models.pixel_curve import PIXEL_METRICS, PixelCurve

labelled_scores = st.lists(
    st.tuples(st.booleans(), st.integers(-5, 5).map(lambda v: v / 2)), min_size=4, max_size=40
).filter(lambda rows: len({label for label, _ in rows}) == 2)


@given(labelled_scores)
def test_ranking_metrics_equal_sklearn_with_ties(rows):
    labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    assert metrics.auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    assert metrics.evaluate(metrics.METRICS["ap"], labels, scores) == pytest.approx(
        average_precision_score(labels, scores)
    )


@given(labelled_scores, st.floats(-3, 3))
def test_threshold_metrics_equal_sklearn(rows, threshold):
    labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    said = scores > threshold
    assert metrics.evaluate(metrics.accuracy_at(threshold), labels, scores) == pytest.approx(
        accuracy_score(labels, said)
    )
    assert metrics.evaluate(metrics.f1_at(threshold), labels, scores) == pytest.approx(
        f1_score(labels, said, zero_division=0.0)
    )


@given(labelled_scores)
def test_oracle_is_the_best_of_all_thresholds(rows):
    labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    for name, at in (("acc_oracle", metrics.accuracy_at), ("f1_oracle", metrics.f1_at)):
        tried = [metrics.evaluate(at(cut), labels, scores) for cut in np.r_[scores.min() - 1, scores]]
        assert metrics.evaluate(metrics.METRICS[name], labels, scores) == pytest.approx(max(tried))


@given(labelled_scores, st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_a_resample_is_the_metric_of_the_repeated_images(rows, seed):
    labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    weights = np.random.default_rng(seed).integers(0, 4, (1, len(labels)))
    repeated = np.repeat(np.arange(len(labels)), weights[0])
    if len(set(labels[repeated])) < 2:
        assert np.isnan(metrics.METRICS["auroc"](labels, scores, weights.astype(float))[0])
        return
    for name, expected in (("auroc", roc_auc_score), ("ap", average_precision_score)):
        got = metrics.METRICS[name](labels, scores, weights.astype(float))[0]
        assert got == pytest.approx(expected(labels[repeated], scores[repeated]))
    curve = metrics.roc_area(*metrics.cumulative(labels, scores, weights.astype(float)))
    assert metrics.METRICS["auroc"](labels, scores, weights.astype(float)) == curve, "to the last bit"


def test_label_free_threshold_gives_about_its_false_alarm_rate():
    rng = np.random.default_rng(0)
    threshold = metrics.label_free_threshold(rng.normal(size=4000))
    assert threshold == pytest.approx(1.645, abs=0.1)
    alarms = metrics.evaluate(metrics.false_alarms_at(threshold), np.zeros(4000), rng.normal(size=4000))
    assert alarms == pytest.approx(0.05, abs=0.015)


def interval(labels, scores, groups, *, n=1000, rng):
    """95 % interval of the AUROC, drawing whole groups."""
    weights = metrics.bootstrap_weights(groups, n, rng)
    return metrics.percentiles(metrics.METRICS["auroc"](labels.astype(bool), scores, weights))


def test_interval_holds_the_value_is_repeatable_and_widens_with_groups():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 100)
    scores = rng.normal(size=200) + labels + np.repeat(rng.normal(size=20), 10)
    single = interval(labels, scores, np.arange(200), rng=np.random.default_rng(5))
    again = interval(labels, scores, np.arange(200), rng=np.random.default_rng(5))
    grouped = interval(labels, scores, np.arange(200) // 10, rng=np.random.default_rng(5))
    assert single == again
    assert single[0] < metrics.auroc(labels, scores) < single[1]
    assert grouped[1] - grouped[0] > single[1] - single[0]


def test_interval_covers_the_truth_about_95_percent_of_the_time():
    truth, hits = 0.7602, 0  # P(N(1,1) > N(0,1))
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = np.repeat([0, 1], 60)
        low, high = interval(labels, rng.normal(size=120) + labels, np.arange(120), n=300, rng=rng)
        hits += low <= truth <= high
    assert hits >= 50


def test_a_thousand_resamples_of_1250_images_take_less_than_two_seconds():
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(0, 2, 1250), rng.normal(size=1250)
    start = time.process_time()
    interval(labels, scores, np.arange(1250), rng=rng)
    assert time.process_time() - start < 2


def test_refusals_name_what_is_wrong():
    with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
        metrics.auroc([0, 1], [0.1, np.nan])
    with pytest.raises(ValueError, match="equally long"):
        metrics.auroc([0, 1], [0.1])
    with pytest.raises(ValueError, match="normal validation scores"):
        metrics.label_free_threshold([])
    assert np.isnan(metrics.auroc([1, 1], [0.1, 0.2]))


def lesion_images(seed, count=6, size=128):
    """Score maps with two lesion types of soft excess, masks (2, H, W) and a scored disc."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    scored = np.hypot(y - size / 2, x - size / 2) < size / 2.2
    for i in range(count):
        masks = np.zeros((2, size, size), bool)
        for lesion in range(2 if i else 1):  # the first image lacks the second lesion
            for cy, cx in rng.integers(24, size - 24, (5, 2)):
                masks[lesion] |= np.hypot(y - cy, x - cx) < rng.uniform(1.5, 4)
        noise = ndimage.gaussian_filter(rng.normal(size=(size, size)), 1) * 3
        yield (noise + 1.2 * masks[0] + 2.5 * masks[1]).astype(np.float32), masks, scored, f"patient{i}"


@pytest.fixture(scope="module")
def filled():
    curve = PixelCurve(("MA", "EX"), scale=1.0)
    images = list(lesion_images(3))
    for scores, masks, scored, group in images:
        curve.add(scores, masks, scored, group=group)
    return curve, images


@pytest.mark.parametrize("subset", ["all", "MA", "EX"])
def test_pixel_curve_agrees_with_sklearn(filled, subset):
    curve, images = filled
    pooled, singles = [], []
    for scores, masks, scored, _ in images:
        union = masks.any(0)
        positive = {"all": union, "MA": masks[0], "EX": masks[1]}[subset]
        keep = scored & (positive | ~union)
        pooled.append((positive[keep], scores[keep]))
        if positive[keep].any():
            singles.append((roc_auc_score(*pooled[-1]), average_precision_score(*pooled[-1])))
    truth, values = (np.concatenate(part) for part in zip(*pooled, strict=True))
    got = curve.values(subset)
    assert got["auroc"] == pytest.approx(roc_auc_score(truth, values), abs=1e-3)
    assert got["ap"] == pytest.approx(average_precision_score(truth, values), abs=1e-3)
    best = max(f1_score(truth, values >= cut) for cut in np.quantile(values, np.linspace(0.5, 0.999, 60)))
    assert got["dice_best"] >= best - 1e-3
    assert got["auroc_image_mean"] == pytest.approx(np.mean([a for a, _ in singles]), abs=1e-3)
    assert got["ap_image_mean"] == pytest.approx(np.mean([a for _, a in singles]), abs=1e-3)


def test_aupro_equals_a_plain_loop_over_regions(filled):
    curve, images = filled
    negatives = np.sort(np.concatenate([s[m & ~lesions.any(0)] for s, lesions, m, _ in images]))
    regions = []
    for scores, masks, scored, _ in images:
        numbered, count = ndimage.label(masks.any(0) & scored, structure=np.ones((3, 3)))
        regions += [scores[numbered == k + 1] for k in range(count)]
    rates = np.linspace(0, 0.3, 601)
    cuts = negatives[::-1][np.minimum((rates * negatives.size).astype(int), negatives.size - 1)]
    overlap = [np.mean([(region > cut).mean() for region in regions]) for cut in cuts]
    assert curve.values("all")["aupro"] == pytest.approx(np.trapezoid(overlap, rates) / 0.3, abs=5e-3)


def test_small_scores_need_their_scale_and_get_it():
    curve = PixelCurve(("any",), scale=0.01)
    truth, values = [], []
    for scores, masks, scored, group in lesion_images(4):
        small = np.abs(scores) / 200
        curve.add(small, masks.any(0)[None], scored, group=group)
        truth.append(masks.any(0)[scored])
        values.append(small[scored])
    expected = roc_auc_score(np.concatenate(truth), np.concatenate(values))
    assert curve.values()["auroc"] == pytest.approx(expected, abs=1e-3)


def test_perfect_and_useless_maps():
    mask = np.zeros((1, 32, 32), bool)
    mask[0, 4:9, 4:9] = True
    everywhere = np.ones((32, 32), bool)
    perfect, useless = PixelCurve(("any",), scale=1.0), PixelCurve(("any",), scale=1.0)
    perfect.add(mask[0] * 9.0, mask, everywhere, group="a")
    useless.add(np.zeros((32, 32)), mask, everywhere, group="a")
    assert perfect.values() == pytest.approx(dict.fromkeys(PIXEL_METRICS, 1.0), abs=1e-6)
    assert useless.values()["auroc"] == pytest.approx(0.5)
    assert useless.values()["aupro"] == pytest.approx(0.15)  # mean of a diagonal up to .3


def test_pixel_intervals_draw_images_and_hold_the_value(filled):
    curve, _ = filled
    values, intervals = curve.values(), curve.intervals(n=200, rng=np.random.default_rng(0))
    for name in PIXEL_METRICS:
        low, high = intervals[name]
        assert low - 0.02 <= values[name] <= high + 0.02
        assert high > low
    assert curve.n_images() == 6
    assert curve.n_images("EX") == 5


def test_drawn_curves_rise_and_cover_the_corners(filled):
    curve, _ = filled
    drawn = curve.curves()
    assert (drawn["fpr"][0], drawn["tpr"][0], drawn["fpr"][-1], drawn["tpr"][-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(drawn["tpr"]) >= 0)
    assert len(drawn["recall"]) == len(drawn["precision"]) <= 202


def test_pixel_curve_without_lesion_pixels_says_nan_and_refuses_bad_input():
    curve = PixelCurve(("any",), scale=1.0)
    none, everywhere = np.zeros((1, 8, 8), bool), np.ones((8, 8), bool)
    with pytest.raises(ValueError, match="holds no image"):
        curve.values()
    curve.add(np.zeros((8, 8)), none, everywhere, group="a")
    assert np.isnan(list(curve.values().values())).all()
    assert curve.curves()["fpr"] == []
    with pytest.raises(ValueError, match="not finite"):
        curve.add(np.full((8, 8), np.nan), none, everywhere, group="a")
    with pytest.raises(ValueError, match="lesion masks"):
        curve.add(np.zeros((8, 8)), none[:, :4], everywhere, group="a")
    with pytest.raises(ValueError, match="scale"):
        PixelCurve((), scale=0.0)


def test_sensitivity_and_false_alarms_are_shares_above_the_threshold():
    labels, scores = [0, 0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.9, 0.5, 0.5, 0.6, 0.7]
    assert metrics.evaluate(metrics.sensitivity_at(0.5), labels, scores) == pytest.approx(2 / 3)
    assert metrics.evaluate(metrics.false_alarms_at(0.5), labels, scores) == pytest.approx(1 / 4)
