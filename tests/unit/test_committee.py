"""A committee: scores are weighted and summed in units of normals, maps are averaged and keep their unit."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pipeline.detectors.standardise import committee_score, fused_map


def test_scores_are_summed_in_units_of_the_sd_of_validation_normals():
    def member(*scores):
        return {"head": SimpleNamespace(normal_scores=lambda: {f"n{at}": score for at, score in enumerate(scores)})}

    members = {"a": member(1.0, 3.0), "b": member(10.0, 30.0)}
    scores = {"a": np.array([2.0, 4.0]), "b": np.array([20.0, 10.0])}
    assert_allclose(committee_score({"a": 1.0, "b": 0.5}, members, scores), [0.0, 2.0 - 0.5], atol=1e-6)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.25), (7.0, 3.0)])
def test_a_map_of_members_that_agree_is_their_map(weights):
    one = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert_allclose(fused_map([(weight, one) for weight in weights]), one, rtol=1e-6)


def test_small_maps_are_enlarged_to_the_largest():
    coarse, fine = np.full((2, 2), 4.0, np.float32), np.zeros((8, 8), np.float32)
    assert_allclose(fused_map([(3.0, coarse), (1.0, fine)]), np.full((8, 8), 3.0))
