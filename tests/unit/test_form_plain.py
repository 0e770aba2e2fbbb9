"""The paper's form: the whole image stretched to one tile, and heat maps brought back."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pipeline.errors import UnusableImage
from pipeline.forms import FORMS
from pipeline.forms.form import SCORED, TILE, TileTransform

FORM = FORMS["plain"]


def test_it_has_one_slot():
    assert FORM.canvases == {"image": (1, 1)}


@pytest.mark.parametrize("shape", [(300, 512), (512, 300), (256, 256), (40, 90), (600, 500, 3)])
def test_one_tile_of_the_whole_image(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    (tile,) = FORM.cut(image, {})
    assert tile.slot == "image"
    assert tile.pixels.shape == (1, TILE, TILE)
    assert tile.pixels.dtype == np.uint8
    assert tile.lesions.shape == (0, TILE, TILE)
    assert (tile.validity == SCORED).all()
    assert tile.pixels.mean() == pytest.approx(image.mean(), abs=3)


def test_downsampling_is_by_area():
    image = np.random.default_rng(0).integers(0, 256, (512, 768), dtype=np.uint8)
    (tile,) = FORM.cut(image, {})
    expected = image.reshape(256, 2, 256, 3).mean(axis=(1, 3))
    assert_allclose(tile.pixels[0], expected, atol=1)


def test_lesions_by_half_their_area():
    mask = np.zeros((512, 512), bool)
    mask[100:200, 300:400] = True
    mask[10, 10] = True  # a quarter of a tile pixel
    (tile,) = FORM.cut(np.zeros((512, 512), np.uint8), {"MA": mask, "HE": np.zeros_like(mask)})
    assert tile.lesions[0].sum() == 50 * 50
    assert tile.lesions[0, 50:100, 150:200].all()
    assert not tile.lesions[1].any()


@pytest.mark.parametrize("shape", [(300, 512), (200, 180), (256, 256)])
def test_a_planted_spot_returns_to_its_place(shape):
    image = np.zeros(shape, np.uint8)
    y, x = 3 * shape[0] // 4, shape[1] // 3
    image[y - 3 : y + 4, x - 3 : x + 4] = 255
    (tile,) = FORM.cut(image, {})
    back = tile.transform.paint(tile.pixels[0].astype(np.float32))
    assert back.shape == shape
    assert not np.isnan(back).any()
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    assert (rows * back).sum() / back.sum() == pytest.approx(y, abs=1)
    assert (cols * back).sum() / back.sum() == pytest.approx(x, abs=1)
    assert TileTransform.from_json(tile.transform.to_json()) == tile.transform


def test_a_speck_is_refused():
    with pytest.raises(UnusableImage, match="at least 16 px"):
        FORM.cut(np.zeros((200, 12), np.uint8), {})
