import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.detectors.frozen.calibration import Calibration, in_words
from pipeline.errors import ConfigError

NORMAL = np.arange(39) / 10  # 39 scores, 0 to 3.8


def test_a_rate_counts_the_image_itself_and_is_never_zero():
    calibration = Calibration.of(NORMAL[::-1])
    assert calibration.rate(99.0) == 1 / 40
    assert calibration.rate(3.8) == 2 / 40  # as high as the highest normal
    assert calibration.rate(-1.0) == 1.0
    assert in_words(calibration.rate(99.0)) == "1 normal image in 40 scores this high"


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
