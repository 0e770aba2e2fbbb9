"""Planes at the canvas's full size: the image less the enlarged reconstruction, and maps that are no residual."""

import cv2
import numpy as np
import pandas as pd
import pytest

from models.methods import METHODS, build
from models.scoring import ScoreConfig
from pipeline.detectors.network import NetworkDetector, NetworkMaps
from pipeline.forms.form import NO_DATA, SCORED, TILE
from pipeline.tiles.loading import TileSet
from tests.unit.drawn_detectors import CANVAS, TEST, draw, networks

SIZE = (32, 32)


@pytest.fixture(scope="module")
def full() -> TileSet:
    """Two images of two tiles each, a corner not imaged."""
    pixels = np.random.default_rng(5).integers(0, 256, (4, 1, TILE, TILE), np.uint8)
    validity = np.full((4, TILE, TILE), SCORED, np.uint8)
    validity[:, :64, :64] = NO_DATA
    pixels[np.broadcast_to(validity[:, None] == NO_DATA, pixels.shape)] = 128
    names = ["a", "a", "b", "b"]
    index = pd.DataFrame({"image_id": names, "group": names, "split": "val", "label": 0, "klass": ""})
    return TileSet(
        pixels,
        None,
        validity,
        index.assign(canvas="field", canvas_row=0, canvas_col=[0, 1, 0, 1], offset_row=0.0, offset_col=0.0),
    )


def predicted(name: str, full: TileSet, *, fine: bool, flip_average: bool = False) -> NetworkMaps:
    method, score = build(name, METHODS[name].config_type(), seed=0), ScoreConfig(fine=fine)
    return NetworkDetector(
        canvas="field", size=SIZE, score=score, neutral=128, method=method, flip_average=flip_average
    ).maps(full)


@pytest.mark.parametrize("flip_average", [False, True])
def test_a_fine_residual_is_the_image_less_the_enlarged_reconstruction(full: TileSet, flip_average: bool) -> None:
    coarse, fine = (predicted("denoising", full, fine=fine, flip_average=flip_average) for fine in (False, True))
    shape = (TILE, 2 * TILE)
    assert fine.images.pixels.shape == (2, 1, *shape)
    for row in range(2):
        enlarged = cv2.resize(coarse.reconstruction[row], shape[::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(fine.reconstruction[row], enlarged, atol=1e-6)
        inside = cv2.erode(fine.images.seen[row].astype(np.uint8), np.ones((33, 33))) > 0  # off the enlarged border
        expected = fine.images.gray[row] - enlarged
        np.testing.assert_allclose(fine.residual[row][inside], expected[inside], atol=1e-5)
        assert not fine.residual[row][~fine.images.seen[row]].any()
    moved = np.abs(fine.steady - fine.residual).max()
    assert moved > 1e-3 if flip_average else moved == 0


def test_a_map_that_is_no_residual_is_enlarged_as_it_is(full: TileSet) -> None:
    coarse, fine = (predicted("segmentation", full, fine=fine) for fine in (False, True))
    for small, large in zip(coarse.steady, fine.steady, strict=True):
        np.testing.assert_array_equal(large, cv2.resize(small, (2 * TILE, TILE), interpolation=cv2.INTER_LINEAR))


def test_a_method_that_needs_true_proxies_gets_those_of_the_training_normals(tmp_path) -> None:
    drawn, score = draw(tmp_path), ScoreConfig(sigma=1.0, beside=2, own_mirror=True)
    stage = networks(tmp_path / "networks", "pix2pix")
    found = NetworkDetector.trained(stage, drawn.tiles, CANVAS, score, member="pix2pix", proxies=drawn.proxies)
    maps = found.maps(drawn.shown(*TEST))
    assert np.isfinite(maps.parts).all()
    assert maps.parts.std() > 0
