"""What every detector keeps, network or control: no image depends on another, and saving changes nothing."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pipeline.detectors.contract import joined
from pipeline.detectors.controls.pretrained import FeatureNeighbour
from pipeline.detectors.frozen.files import arrays_of, read_scorer, write_scorer
from pipeline.detectors.standardise import CanvasScorer
from tests.unit.drawn_detectors import CANVAS, CONTROLS, NAMES, TEST, draw, fit, odd_tiles

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def fitted(drawn, tmp_path_factory):
    """Name → detector, each fitted once."""
    return cache(lambda name: fit(name, drawn, tmp_path_factory.mktemp("networks")))


@pytest.fixture(scope="module")
def scorer(drawn, fitted):
    """Name → detector with its statistics, each fitted once."""
    return cache(lambda name: CanvasScorer.fit(fitted(name), drawn.tiles, drawn.proxies)[0])


def saved(scorer, name, folder):
    """Its entry of the description; the files are in ``folder``."""
    return write_scorer(folder, scorer) | ({"control": name} if name in CONTROLS else {})


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_maps_do_not_depend_on_batch_order_or_neighbours(name, fitted, drawn):
    detector = fitted(name)
    together = detector.maps(drawn.shown(*TEST)).parts
    alone = [detector.maps(drawn.shown(n)).parts[0] for n in reversed(TEST)]
    assert_array_equal(together, np.stack(alone[::-1]))
    pairs = (drawn.shown(*TEST[:2]), drawn.shown(*TEST[2:]))
    assert_array_equal(joined(map(detector.maps, pairs), len(TEST)).parts, together)
    unseen = joined(map(detector.maps, pairs), len(TEST), pixels=False)
    assert_array_equal(unseen.parts, together)
    assert unseen.images.pixels.size == 0
    with pytest.raises(ValueError, match=f"expected maps of {len(TEST)} images, at least one, got 2"):
        joined(map(detector.maps, pairs[:1]), len(TEST))
    turned = drawn.shown(*TEST)
    turned = type(turned)(*(values[::-1] for values in (turned.pixels, turned.proxies, turned.validity, turned.index)))
    assert_array_equal(detector.maps(turned).parts[::-1], together)


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_finite_and_not_negative_on_any_image(name, scorer, drawn):
    found = scorer(name).score(odd_tiles(drawn))
    assert found.found.parts.ndim == 4
    assert np.isfinite(found.found.parts).all()
    assert found.found.parts.min() >= 0
    assert np.isfinite(np.stack(found.maps)).all()
    assert np.isfinite(found.z).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_scores_as_what_was_fitted(name, scorer, drawn, tmp_path):
    fitted, images = scorer(name), drawn.shown(*TEST)
    read = read_scorer(tmp_path / "saved", CANVAS, saved(fitted, name, tmp_path / "saved"), "cpu")
    before, after = fitted.score(images), read.score(images)
    assert_array_equal(after.found.parts, before.found.parts)
    assert_array_equal(np.stack(after.maps), np.stack(before.maps))
    assert_array_equal(after.z, before.z)
    assert read.normal_scores() == fitted.normal_scores()
    assert saved(read, name, tmp_path / "again") == saved(fitted, name, tmp_path / "twice")
    assert files(tmp_path / "again") == files(tmp_path / "saved")


@pytest.mark.parametrize("name", NAMES)
def test_copies_of_training_images_are_declared(name, fitted, drawn):
    train = drawn.shown(*range(8))
    copied = [array for array in arrays_of(fitted(name)).values() if array.ndim == 3 and len(array) == 8]
    gray = fitted(name).maps(train).images.gray
    shown = [array / 255 if array.dtype == np.uint8 else array for array in copied]
    holds = any(array.shape == gray.shape and np.allclose(array, gray) for array in shown)
    if isinstance(fitted(name), FeatureNeighbour):  # a distance of 0: the bank holds this cell of a training image
        holds = bool((fitted(name).difference(fitted(name).images(train)).min(axis=(1, 2)) < 1e-2).all())
    assert fitted(name).holds_copies() == holds


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """The same normals with inverted test images, and with none."""
    return [draw(tmp_path_factory.mktemp(tests), tests) for tests in ("inverted", "absent")]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_test_images_is_in_the_state(name, scorer, others, tmp_path):
    entry = saved(scorer(name), name, tmp_path / "first")
    for other in others:
        folder = tmp_path / other.tiles.path.parent.name
        again, _ = CanvasScorer.fit(fit(name, other, folder / "networks"), other.tiles, other.proxies)
        assert saved(again, name, folder / "saved") == entry
        assert files(folder / "saved") == files(tmp_path / "first")
