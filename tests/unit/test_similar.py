"""Statistics of the most similar normals: whom they ask, whom they leave out, and what mirrors add."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from models.scoring import ScoreConfig, standardise_one
from pipeline.detectors.neighbour import ranking
from pipeline.detectors.standardise import SimilarNormals
from pipeline.errors import ConfigError

H, W, COUNT = 10, 12, 80
CONFIG = ScoreConfig(sigma=1.0, similar=40, mirrored=False)


@pytest.fixture
def normals():
    """Dark images with small residuals, then bright ones with large residuals."""
    rng = np.random.default_rng(5)
    bright = (np.arange(COUNT) >= COUNT // 2).astype(np.float32)[:, None, None]
    images = (0.2 + 0.6 * bright + 0.05 * rng.random((COUNT, H, W))).astype(np.float32)
    smoothed = ((0.1 + bright) * (1 + 0.2 * rng.random((COUNT, H, W)))).astype(np.float32)[:, None]
    return SimilarNormals(images, np.ones((COUNT, H, W), bool), smoothed, np.zeros((COUNT, 2)), CONFIG)


def test_a_residual_that_is_usual_for_another_kind_of_image_stands_out(normals):
    dark, scored, large = np.full((H, W), 0.2, np.float32), np.ones((H, W), bool), np.full((1, H, W), 1.2, np.float32)
    own = standardise_one(large, normals.statistics(dark, scored), scored, (0, 0), CONFIG)
    among_all = standardise_one(large, normals._everyone.statistics(CONFIG), scored, (0, 0), CONFIG)
    assert among_all.max() < 2 < own.min()
    other = normals.statistics(dark + 0.6, scored)
    assert (other.mean > normals.statistics(dark, scored).mean).all()


def test_normals_left_out_have_no_say(normals):
    image, scored = normals.images[2], normals.scored[2]
    rest = np.array([row for row in range(COUNT) if row not in (2, 3)])
    fewer = replace(
        normals,
        images=normals.images[rest],
        scored=normals.scored[rest],
        smoothed=normals.smoothed[rest],
        offsets=normals.offsets[rest],
    )
    found, wanted = normals.statistics(image, scored, [2, 3]), fewer.statistics(image, scored)
    assert_allclose(found.mean, wanted.mean, rtol=1e-5)
    assert_allclose(found.sd, wanted.sd, rtol=1e-3, atol=1e-5)
    assert not np.allclose(found.mean, normals.statistics(image, scored).mean, rtol=1e-5)


def test_mirrored_normals_answer_for_mirrored_images(normals):
    both = replace(normals, config=replace(CONFIG, mirrored=True, similar=1))
    image, scored = normals.images[70], normals.scored[70]
    found, mirrored = both.statistics(image, scored), both.statistics(image[:, ::-1], scored)
    assert_allclose(mirrored.mean, found.mean[..., ::-1], rtol=1e-5)
    assert not np.allclose(mirrored.mean, found.mean, rtol=1e-3)


def test_ranking_looks_inside_the_mask_alone():
    bank = np.stack([np.full((4, 4), value, np.float32) for value in (0.1, 0.5, 0.9)])
    query = np.where(np.arange(4) < 2, 0.9, 0.1).astype(np.float32)[None].repeat(4, 0)
    left = np.broadcast_to(np.arange(4) < 2, (4, 4))
    assert_array_equal(ranking(bank, query, left, 3), [2, 1, 0])
    assert_array_equal(ranking(bank, query, ~left, 2), [0, 1])


def test_nothing_to_rank_is_an_error():
    query = np.zeros((4, 4), np.float32)
    for bank in (np.zeros((0, 4, 4), np.float32), np.zeros((2, 4, 5), np.float32)):
        with pytest.raises(ConfigError, match="normals of the query's size"):
            ranking(bank, query, np.ones(query.shape, bool), 1)
