"""Neighbours explain what normals show and nothing else."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from models.scoring import ScoreConfig
from pipeline.detectors.controls.nearest import Nearest
from pipeline.detectors.images import CanvasImages
from pipeline.detectors.neighbour import NeighbourConfig, patch_neighbour_map
from pipeline.errors import ConfigError
from pipeline.forms.form import SCORED

CONFIG = NeighbourConfig()


def everywhere(images: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.ones(images.shape, bool)


def canvas(images: NDArray[np.float32]) -> CanvasImages:
    table = pd.DataFrame({"group": [f"g{n}" for n in range(len(images))]})
    return CanvasImages(table, images[:, None], None, np.full(images.shape, SCORED, np.uint8))


def residual(train: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    common = {"canvas": "whole", "size": train.shape[1:], "score": ScoreConfig(), "neutral": 0}
    return Nearest.fit(canvas(train), **common).difference(canvas(query))


def distances(
    train: NDArray[np.float32], query: NDArray[np.float32], config: NeighbourConfig = CONFIG
) -> NDArray[np.float32]:
    return patch_neighbour_map(train, query, everywhere(train), everywhere(query), config)


@pytest.fixture
def normals() -> NDArray[np.float32]:
    noise = np.random.default_rng(0).normal(size=(8, 32, 32))
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2))
    return (0.5 + 0.1 * smooth / smooth.std()).astype(np.float32)


def test_a_training_image_and_its_mirror_have_no_residual(normals: NDArray[np.float32]) -> None:
    assert np.abs(residual(normals, normals[2:4])).max() == 0
    assert np.abs(residual(normals, normals[2:4, :, ::-1])).max() == 0


def test_the_residual_keeps_its_sign(normals: NDArray[np.float32]) -> None:
    query = normals[:1].copy()
    query[0, 10, 10] += 0.3
    query[0, 20, 20] -= 0.3
    found = residual(normals, query)
    assert found[0, 10, 10] == pytest.approx(0.3, abs=1e-6)
    assert found[0, 20, 20] == pytest.approx(-0.3, abs=1e-6)


def test_small_shifts_cost_nothing_and_a_spot_stands_out(normals: NDArray[np.float32]) -> None:
    query = np.roll(normals[:1], (1, -2), axis=(1, 2))
    plain = distances(normals, query)
    assert plain[0, 6:-6, 6:-6].max() < 1e-6
    query[0, 14:18, 14:18] += 0.5
    spotted = distances(normals, query)
    assert np.hypot(*(np.subtract(np.unravel_index(spotted[0].argmax(), (32, 32)), 15.5))) < 3


def test_the_other_half_explains_what_is_symmetrical_and_not_a_spot(normals: NDArray[np.float32]) -> None:
    even = normals[1:2] + normals[1:2, :, ::-1] + 1.5  # unlike every normal, alike on both sides
    alone = distances(normals[2:], even)
    beside = distances(normals[2:], even, NeighbourConfig(own_mirror=1))
    assert alone.mean() > 0.5
    assert beside.max() < 1e-5
    even[0, 14:18, 4:8] += 0.5
    spotted = distances(normals[2:], even, NeighbourConfig(own_mirror=1))
    assert spotted[0, 16, 6] > 0.1
    assert spotted[0, :, 12:20].max() < 1e-5


def test_what_is_masked_out_cannot_score(normals: NDArray[np.float32]) -> None:
    query, asked = normals[:1] * 0 + 5, np.zeros((1, 32, 32), bool)
    asked[0, :10] = True
    maps = patch_neighbour_map(normals, query, everywhere(normals), asked, CONFIG)
    assert (maps[0, 10:] == 0).all()
    assert (maps[0, :10] > 1).all()


def test_places_no_normal_knows_still_have_a_value(normals: NDArray[np.float32]) -> None:
    known = np.zeros(normals.shape, bool)
    maps = patch_neighbour_map(normals, normals + 1, known, ~known, CONFIG)
    assert np.isfinite(maps).all()


def test_settings_and_shapes_are_checked(normals: NDArray[np.float32]) -> None:
    with pytest.raises(ConfigError, match="odd patch"):
        NeighbourConfig(patch=4)
    with pytest.raises(ConfigError, match="size"):
        distances(normals, normals[:, :16])
    with pytest.raises(ConfigError, match="size"):
        residual(normals[:0], normals)
