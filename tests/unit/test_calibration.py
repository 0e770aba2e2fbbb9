import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.detectors.frozen.calibration import Calibration, in_words, percent
from pipeline.detectors.frozen.detector import ScoredImage
from pipeline.errors import ConfigError
from pipeline.forms import FORMS

NORMAL = np.arange(39) / 10  # 39 scores, 0 to 3.8


def test_a_rate_counts_the_image_itself_and_is_never_zero():
    calibration = Calibration.of(NORMAL[::-1])
    assert calibration.rate(99.0) == 1 / 40
    assert calibration.rate(3.8) == 2 / 40  # as high as the highest normal
    assert calibration.rate(-1.0) == 1.0
    assert in_words(calibration.rate(99.0)) == "2.5 % of normal images score this high"
    assert [percent(rate) for rate in (4 / 7, 1 / 3, 0.00123, 1.0)] == ["57 %", "33 %", "0.12 %", "100 %"]


@given(st.lists(st.floats(-5, 5), min_size=20, max_size=80), st.floats(0.06, 0.9), st.floats(-6, 6))
def test_above_the_threshold_is_the_same_as_a_rate_below(scores, rate, score):
    calibration = Calibration.of(np.array(scores))
    assert (score > calibration.threshold(rate)) == (calibration.rate(score) <= rate)


def test_a_rate_that_so_few_normals_cannot_tell_is_refused():
    with pytest.raises(ConfigError, match=r"expected 0\.0250 \(1 in 40\).*39 normal images, got 0\.02"):
        Calibration.of(NORMAL).threshold(0.02)


def test_new_normals_get_a_small_rate_no_more_often_than_it_says():
    rng = np.random.default_rng(0)
    rates = [Calibration.of(rng.normal(size=39)).rate(rng.normal()) for _ in range(4000)]
    assert np.mean(np.array(rates) <= 0.1) == pytest.approx(0.1, abs=0.02)


def test_the_interval_lies_above_the_rate_and_closes_with_more_normals():
    few, many = Calibration.of(np.arange(20.0)), Calibration.of(np.arange(2000.0) / 100)
    assert few.highest_rate(18.5) > many.highest_rate(18.5) > 0.05
    assert few.highest_rate(-1.0) == 1.0


def test_the_default_rate_is_raised_to_what_the_normals_can_tell():
    assert Calibration.of(NORMAL).usable_rate() == 0.05
    few = Calibration.of(np.arange(6.0))
    assert few.usable_rate() == few.least == 1 / 7
    assert few.usable_rate(0.2) == 0.2
    with pytest.raises(ConfigError, match=r"6 normal images, got 0\.05; ask for a higher rate"):
        few.usable_rate(0.05)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_rate_outside_0_and_1_is_refused_everywhere(rate):
    found = scored_image(9.0, 39)
    for look in (found.decision, found.regions, found.overlay, found.peaks.threshold, found.peaks.usable_rate):
        with pytest.raises(ConfigError, match=rf"expected 0\.0250 .* or more, below 1, .* got {rate:g}"):
            look(rate)


def scored_image(score: float, normals: int) -> ScoredImage:
    """A plain image with one hot place; the calibrations are 0, 1, 2, … of that many normals."""
    rng = np.random.default_rng(0)
    pixels, heat = rng.integers(60, 200, (90, 120), dtype=np.uint8), np.zeros((64, 64), np.float32)
    heat[20:30, 20:30] = score
    known = Calibration.of(np.arange(float(normals)))
    return ScoredImage(
        score=score, false_alarm_rate=known.rate(score), false_alarm_rate_high=known.highest_rate(score), distance=0.5,
        pixels=pixels, tiles=FORMS["plain"].cut(pixels, {}), maps={"image": heat}, peaks=known,
        canvases=FORMS["plain"].canvases,
    )  # fmt: skip


def test_with_few_normals_decision_regions_and_overlay_agree_on_the_rate():
    hot, cold = scored_image(9.0, 6), scored_image(2.0, 6)
    assert (hot.decision(), len(hot.regions())) == ("abnormal", 1)
    assert (cold.decision(), cold.regions()) == ("normal", ())
    assert hot.overlay() == hot.overlay(1 / 7)
    for look in (hot.decision, hot.regions, hot.overlay):
        with pytest.raises(ConfigError, match="ask for a higher rate"):
            look(0.05)
    many = scored_image(19.5, 19)
    assert many.decision() == many.decision(0.05) == "abnormal"
