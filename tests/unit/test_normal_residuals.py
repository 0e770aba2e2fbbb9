"""A residual that similar normals leave too is none; what no normal and no other half shows stays."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from models.scoring import ScoreConfig
from pipeline.detectors.images import CanvasImages
from pipeline.detectors.neighbour import NormalResiduals
from pipeline.forms.form import SCORED

SIDE = 64
CONFIG = ScoreConfig(beside=2)


def smooth(seed: int, count: int) -> NDArray[np.float32]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(count, SIDE, SIDE)), (0, 3, 3))
    return (0.5 + 0.1 * noise / noise.std()).astype(np.float32)


def queries(images: NDArray[np.float32]) -> CanvasImages:
    table = pd.DataFrame({"image_id": [str(row) for row in range(len(images))]})
    return CanvasImages(table, images[:, None], None, np.full(images.shape, SCORED, np.uint8))


@pytest.fixture
def normals() -> NormalResiduals:
    images = smooth(0, 6)
    return NormalResiduals(images, np.ones(images.shape, bool), smooth(1, 6) - np.float32(0.5))


def test_what_a_similar_normal_leaves_nearby_is_explained_and_a_spot_is_not(normals: NormalResiduals) -> None:
    moved = np.roll(normals.residual[:1], (1, -2), axis=(1, 2))
    images = queries(normals.images[:1])
    assert normals.difference(images, moved, CONFIG)[0, 8:-8, 8:-8].max() < 1e-6
    moved[0, 30:34, 40:44] += 1
    found = normals.difference(images, moved, CONFIG)[0]
    assert np.hypot(*np.subtract(np.unravel_index(found.argmax(), found.shape), (31.5, 41.5))) < 3
    assert found[8:-8, 8:30].max() < 1e-6


def test_normals_are_chosen_by_the_image_and_not_by_the_residual(normals: NormalResiduals) -> None:
    one = replace(CONFIG, beside=1)
    own = normals.difference(queries(normals.images[3:4]), normals.residual[3:4], one)
    other = normals.difference(queries(normals.images[3:4]), normals.residual[4:5], one)
    assert own.max() == 0 < 0.02 < other.mean()


def test_the_other_half_explains_what_is_on_both_sides(normals: NormalResiduals) -> None:
    residual = np.zeros((1, SIDE, SIDE), np.float32)
    residual[0, 20:26, 10:16] = residual[0, 20:26, -16:-10] = 1
    images = queries(normals.images[:1])
    assert normals.difference(images, residual, CONFIG).max() > 0.5
    assert normals.difference(images, residual, replace(CONFIG, own_mirror=True))[0, 8:-8, 8:-8].max() < 0.3
    residual[0, 20:26, 10:16] = 0
    assert normals.difference(images, residual, replace(CONFIG, own_mirror=True)).max() > 0.5


def test_the_reach_grows_with_the_canvas(normals: NormalResiduals) -> None:
    twice = NormalResiduals(*(np.repeat(np.repeat(part, 2, 1), 2, 2) for part in vars(normals).values()))
    moved = np.roll(twice.residual[:1], (4, -4), axis=(1, 2))
    assert twice.difference(queries(twice.images[:1]), moved, CONFIG)[0, 16:-16, 16:-16].max() < 1e-6
    further = np.roll(twice.residual[:1], (8, -8), axis=(1, 2))
    assert twice.difference(queries(twice.images[:1]), further, CONFIG)[0, 16:-16, 16:-16].max() > 1e-3


def test_larger_canvases_are_compared_at_the_size_of_the_measured_reach(normals: NormalResiduals) -> None:
    large = [np.repeat(np.repeat(part, 2, 1), 2, 2) for part in vars(normals).values()]
    kept = NormalResiduals.of(queries(large[0]), large[2])
    for name, part in vars(normals).items():
        assert np.array_equal(getattr(kept, name), part), name
    moved = np.roll(large[2][:1], (2, -4), axis=(1, 2))
    moved[0, 60:68, 80:88] += 1
    found = kept.difference(queries(large[0][:1]), moved, CONFIG)
    assert found.shape == (1, 2 * SIDE, 2 * SIDE)
    assert np.hypot(*np.subtract(np.unravel_index(found[0].argmax(), found[0].shape), (63.5, 83.5))) < 6
    small = NormalResiduals.of(queries(normals.images), normals.residual)
    assert small.images.shape == normals.images.shape


@pytest.mark.parametrize("wrong", [{"beside": -1}, {"beside": 2, "fine": True}, {"own_mirror": True}])
def test_settings_that_say_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="beside"):
        ScoreConfig(**wrong)  # type: ignore[arg-type]
