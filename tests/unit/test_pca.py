"""The PCA control rebuilds the span of its training images and nothing else."""

import numpy as np
import pandas as pd
import pytest

from models.scoring import ScoreConfig
from pipeline.detectors.controls.pca import Pca, augmented, valid_mean
from pipeline.detectors.images import CanvasImages
from pipeline.errors import ConfigError
from pipeline.forms.form import NO_DATA, SCORED

H, W = 8, 12


def low_rank(n: int, rank: int, seed: int, basis_seed: int = 0) -> np.ndarray:
    basis = np.random.default_rng(basis_seed).normal(size=(rank, H * W))
    weights = np.random.default_rng(seed).normal(size=(n, rank))
    return (weights @ basis + 3).reshape(n, H, W).astype(np.float32)


def full(images: np.ndarray) -> np.ndarray:
    return np.ones(images.shape, np.bool_)


def canvas(images: np.ndarray, mask: np.ndarray | None) -> CanvasImages:
    validity = np.where(full(images) if mask is None else mask, SCORED, NO_DATA).astype(np.uint8)
    return CanvasImages(pd.DataFrame(index=range(len(images))), images[:, None], None, validity)


def residual(train, query, components, train_mask=None, query_mask=None, **options):
    common = {"canvas": "whole", "size": (H, W), "score": ScoreConfig(), "neutral": 0}
    found = Pca.fit(canvas(train, train_mask), options={"components": components, **options}, **common)
    return found.difference(canvas(query, query_mask))


def test_what_lies_in_the_span_is_rebuilt():
    left = residual(low_rank(60, 4, 1), low_rank(5, 4, 2), 4)
    assert left.dtype == np.float32
    assert np.abs(left).max() < 1e-3


def test_what_lies_outside_is_left_with_its_sign():
    query = low_rank(2, 4, 2)
    query[0, 3, 3] += 5
    query[1, 3, 3] -= 5
    left = residual(low_rank(60, 4, 1), query, 4)
    assert left[0, 3, 3] > 3
    assert left[1, 3, 3] < -3
    assert np.abs(left[:, 3, 3]).min() > 3 * np.abs(np.delete(left.reshape(2, -1), 3 * W + 3, axis=1)).max()


def test_more_components_leave_less():
    rng = np.random.default_rng(0)
    train, query = rng.normal(size=(2, 40, H, W)).astype(np.float32)
    errors = [np.square(residual(train, query, k)).sum() for k in (1, 5, 20, 39)]
    assert errors == sorted(errors, reverse=True)


def test_components_beyond_the_data_are_cut():
    train, query = low_rank(6, 8, 1), low_rank(3, 8, 2)
    assert np.allclose(residual(train, query, 500), residual(train, query, 5), atol=1e-4)


def test_invalid_pixels_neither_teach_nor_score():
    train, query = low_rank(60, 4, 1), low_rank(5, 4, 2)
    train_mask, query_mask = full(train), full(query)
    train_mask[:, :2], query_mask[:, :2] = False, False
    dirty_train, dirty_query = train.copy(), query.copy()
    dirty_train[:, :2], dirty_query[:, :2] = 1e4, -1e4
    clean = residual(train, query, 4, train_mask, query_mask)
    dirty = residual(dirty_train, dirty_query, 4, train_mask, query_mask)
    assert np.allclose(clean, dirty, atol=1e-4)
    assert (dirty[:, :2] == 0).all()


def test_mirrored_training_rebuilds_mirrored_queries():
    train = low_rank(60, 3, 1)
    query = low_rank(4, 3, 2)[:, :, ::-1]
    without, mirrored = residual(train, query, 6), residual(train, query, 6, mirrored=True)
    assert np.abs(mirrored).max() < 1e-3
    assert np.abs(without).max() > 0.1


def test_shifted_training_rebuilds_shifted_queries():
    train = low_rank(80, 2, 1)
    query = np.roll(low_rank(4, 2, 2), 1, axis=2)
    mask = full(query)
    mask[:, :, 0] = False
    without = np.square(residual(train, query, 8, query_mask=mask)).mean()
    moved = np.square(residual(train, query, 8, query_mask=mask, shifts=(-1, 1))).mean()
    assert moved < 0.1 * without


def test_augmentation_moves_masks_along():
    images = np.arange(H * W, dtype=np.float32).reshape(1, H, W)
    more, masks = augmented(images, full(images), mirrored=True, shifts=(0, 2))
    assert more.shape == masks.shape == (4, H, W)
    assert np.array_equal(more[1], images[0, :, ::-1])
    assert np.array_equal(more[2, :, 2:], images[0, :, :-2])
    assert not masks[2, :, :2].any()
    assert masks[2, :, 2:].all()


def test_mean_of_places_never_seen_is_the_overall_mean():
    images = np.array([[[1.0, 9.0]], [[3.0, 9.0]]], np.float32)
    masks = np.array([[[True, False]], [[True, False]]])
    assert np.allclose(valid_mean(images, masks), [[2.0, 2.0]])


def test_same_input_same_residual():
    train = np.random.default_rng(0).normal(size=(90, H, W)).astype(np.float32)
    assert np.array_equal(residual(train, train[:4], 3), residual(train, train[:4], 3))


def test_nonsense_is_refused():
    images = low_rank(5, 2, 0)
    with pytest.raises(ConfigError, match="at least one component"):
        residual(images, images, 0)
    with pytest.raises(ConfigError, match="expected images of"):
        residual(images, images[:, :-1], 2)
    with pytest.raises(ConfigError, match="at least 2 training images"):
        residual(images[:1], images, 2)
