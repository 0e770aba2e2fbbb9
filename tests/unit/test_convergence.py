"""Whether a training had converged, from its evaluations."""

import pytest

from models.schedule import converged, last_gain


def history(*values):
    return [{"step": 100.0 * number, "validation": value} for number, value in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("values", "gain"),
    [
        ((4, 2, 1, 0.5), 0.5),  # still falling
        ((4, 2, 1, 0.99), 0.01),
        ((4, 2, 1, 3), 0.0),  # it only got worse
        ((4, 1, 2, 2, 2, 2, 2, 0.75), 0.25),  # against the best before, not the last
        ((4, 2, 1), None),
        ((0.0, -1.0, -2.0, -3.0), None),
    ],
)
def test_the_last_quarter_is_held_against_the_best_before(values, gain):
    assert last_gain(history(*values)) == (None if gain is None else pytest.approx(gain))


@pytest.mark.parametrize(
    ("gains", "said"),
    [([0.0, 0.02], True), ([0.01, 0.03], False), ([None, 0.5], False), ([None, 0.0], None), ([], None)],
)
def test_all_stages_have_to_have_settled(gains, said):
    assert converged(gains) is said
