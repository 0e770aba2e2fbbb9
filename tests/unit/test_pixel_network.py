"""Networks on single pixels learn what no line separates, and say the same again."""

import numpy as np
import pytest
import torch

from models.pixel_network import PixelNetwork

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks."""
    for name, value in {"WIDTHS": (32, 32), "COUNT": 2, "PASSES": 30, "BATCH_SIZE": 128}.items():
        monkeypatch.setattr(f"models.pixel_network.{name}", value)


@pytest.fixture(scope="module")
def pixels() -> tuple[np.ndarray, np.ndarray]:
    """Two features of unlike scale; altered where both have one sign."""
    values = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    return values * np.float32([1, 1000]), values[:, 0] * values[:, 1] > 0


def test_what_no_line_separates_is_learned_and_the_global_generator_is_left_alone(pixels) -> None:
    values, altered = pixels
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    network = PixelNetwork.fit(values[:1500], altered[:1500], seed=0)
    assert torch.equal(torch.rand(3), expected)
    odds = network.log_odds(values[1500:])
    assert odds.shape == (500,)
    assert ((odds > 0) == altered[1500:]).mean() > 0.95
    again = PixelNetwork.fit(values[:1500], altered[:1500], seed=0)
    np.testing.assert_array_equal(again.log_odds(values[1500:]), odds)
    other = PixelNetwork.fit(values[:1500], altered[:1500], seed=1)
    assert not np.array_equal(other.log_odds(values[1500:]), odds)


def test_a_value_far_beyond_what_was_seen_rules_no_more_than_the_cut(pixels) -> None:
    network = PixelNetwork.fit(*pixels, seed=0)
    far = np.float32([[50, 50_000], [1e6, 1e9]])
    np.testing.assert_allclose(*network.log_odds(far), rtol=1e-5)


def test_one_kind_of_pixels_is_refused(pixels) -> None:
    with pytest.raises(ValueError, match="altered and other"):
        PixelNetwork.fit(pixels[0], np.ones(len(pixels[0]), bool), seed=0)
