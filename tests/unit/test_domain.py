import numpy as np
import pytest
from scipy import ndimage

from pipeline.detectors.frozen.calibration import LIMIT, coloured, fit_domain, texture
from pipeline.forms.form import NO_DATA, SCORED

SCORED_EVERYWHERE = np.full((256, 256), SCORED, np.uint8)


def layered(rng):
    """Bands with noise, as a flattened retina has."""
    bands = np.sin(np.arange(256) / rng.uniform(9, 11) + rng.uniform(0, 6))[:, None]
    return (0.5 + 0.2 * bands + rng.normal(0, 0.05, (256, 256))).clip(0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def domain():
    rng = np.random.default_rng(0)
    train, validation = ([texture(layered(rng), SCORED_EVERYWHERE) for _ in range(n)] for n in (80, 30))
    return fit_domain(np.stack(train), np.stack(validation))


def test_a_normal_and_a_lesion_are_in_another_texture_is_out(domain):
    rng = np.random.default_rng(1)
    normal = layered(rng)
    lesion = normal.copy()
    lesion[80:170, 60:150] = 0.9
    blobs = ndimage.gaussian_filter(rng.normal(size=(256, 256)), 12)
    blobs = ((blobs - blobs.min()) / np.ptp(blobs)).astype(np.float32)
    distances = [domain.distance(texture(each, SCORED_EVERYWHERE)) for each in (normal, lesion, blobs)]
    assert distances[0] < distances[1] < distances[2]
    assert distances[0] < LIMIT < distances[2]


def test_the_same_picture_turned_on_its_side_is_farther_away(domain):
    upright = layered(np.random.default_rng(2))
    near, far = (domain.distance(texture(each, SCORED_EVERYWHERE)) for each in (upright, upright.T.copy()))
    assert far > LIMIT > near


def test_an_image_of_which_nothing_was_seen_is_infinitely_far(domain):
    nothing = np.full((256, 256), NO_DATA, np.uint8)
    nothing[:20, :20] = SCORED
    assert domain.distance(texture(np.zeros((256, 256), np.float32), nothing)) == float("inf")


def test_a_colour_picture_is_one_and_a_gray_one_with_a_red_note_is_none():
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (100, 100), dtype=np.uint8)
    noted = np.repeat(gray[..., None], 3, 2)
    noted[:20, :40] = (255, 0, 0)
    fundus = np.stack([gray, gray // 2, gray // 8], -1)
    assert [coloured(each) for each in (gray, noted, fundus)] == [False, False, True]
