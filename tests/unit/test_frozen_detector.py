"""A frozen detector, its committee and every member: what it keeps, what it refuses, and the model that serves it."""

import json
import re
import shutil
from functools import cache

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from pipeline.detectors.frozen import files as files_module
from pipeline.detectors.frozen.files import DESCRIPTION, read_detector
from pipeline.detectors.standardise import COMMITTEE, committee_score, normal_scores
from pipeline.errors import ConfigError, StoreCorrupt, UnusableImage
from pipeline.store.verify import MARKER, read_marker
from pipeline.wiring.registry import ANSWER
from tests.unit.drawn_detectors import FROZEN, draw, drawn_image, freeze
from tests.unit.served import served

pytestmark = pytest.mark.slow
NAMES = [COMMITTEE, *FROZEN]
FLIPS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A committee of every registered detector that needs no true proxies."""
    top = tmp_path_factory.mktemp("frozen")
    return freeze(draw(top), top, FROZEN).path


@pytest.fixture(scope="module")
def detector(folder):
    return read_detector(folder, device="cpu")


@pytest.fixture(scope="module")
def images(detector):
    """Images with their tiles: drawn ones, a black, a white, a tiny and a huge one."""
    plain = [np.full((40, 40), value, np.uint8) for value in (0, 255)]
    pixels = [drawn_image(1), *plain, drawn_image(2, 16, 17), drawn_image(3, 3000, 4100)]
    return [(one, detector.cut(one)) for one in pixels]


@pytest.fixture(scope="module")
def scored(detector, images):
    """Name → results of all images at once, each made once."""
    return cache(lambda name: detector.member(name).score_tiles(images))


@pytest.mark.parametrize("name", NAMES)
def test_scores_and_maps_are_finite_and_do_not_depend_on_batch_or_order(detector, images, scored, name):
    chosen = detector.member(name)
    together, turned = scored(name), chosen.score_tiles(images[::-1])[::-1]
    for (pixels, _), one, other in zip(images, together, turned, strict=True):
        alone = chosen.score(pixels)
        assert alone.score == one.score == other.score
        assert np.isfinite(one.score)
        for canvas, values in one.maps.items():
            assert_array_equal(alone.maps[canvas], values)
            assert_array_equal(other.maps[canvas], values)
            assert np.isfinite(values).all()
    with pytest.raises(UnusableImage, match="at least 16 px"):
        chosen.score(drawn_image(0, 1, 1))


def test_an_image_may_be_a_path_a_picture_or_an_array_of_any_usual_type(detector, tmp_path):
    pixels = drawn_image(1)
    path = tmp_path / "scan.png"
    Image.fromarray(pixels).save(path)
    expected = detector.score(pixels)
    deep = pixels.astype(np.uint16) * 256
    coloured = np.stack([pixels] * 3, axis=-1)
    for one in (path, str(path), Image.open(path), pixels / 255, (pixels / 255).astype(np.float32), deep, coloured):
        assert detector.score(one).score == pytest.approx(expected.score, rel=1e-6), type(one)
    for odd in ("no such file", np.zeros((2, 3, 4, 5)), np.array(["a"]), None):
        with pytest.raises((UnusableImage, ConfigError), match=r"expected|No such file"):
            detector.score(odd)


def test_a_notebook_gets_short_words_and_pictures(detector):
    found = detector.score(drawn_image(1))
    assert re.fullmatch(r"ScoredImage\(score -?[\d.]+, .*\)", repr(found))
    assert repr(detector).startswith("Detector('")
    assert max(len(repr(found)), len(repr(detector))) < 120
    assert found._repr_png_() == found.overlay()
    assert len(found.plot().axes) == 2


def test_the_committee_is_the_weighted_sum_of_its_members(detector, scored):
    scores = {name: np.array([one.score for one in scored(name)]) for name in detector.weights}
    expected = committee_score(detector.weights, detector.members, scores)
    assert_array_equal([one.score for one in scored(COMMITTEE)], expected)
    assert (detector.name, detector.names) == (COMMITTEE, (COMMITTEE, *detector.members))
    assert set(detector.members) == set(FROZEN)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_gives_the_normals_the_scores_they_were_frozen_with(detector, name):
    scores = {one: np.array(list(normal_scores(member).values())) for one, member in detector.members.items()}
    scores[COMMITTEE] = committee_score(detector.weights, detector.members, scores)
    assert_array_equal(np.sort(scores[name]), detector.member(name).images.normal)


def test_nothing_of_test_images_is_in_the_folder(folder, tmp_path):
    again = freeze(draw(tmp_path, "absent"), tmp_path, FROZEN).path
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in names:
        assert name.name == MARKER or (again / name).read_bytes() == (folder / name).read_bytes(), name


def test_any_changed_byte_is_refused_by_the_name_of_its_file(folder, tmp_path, monkeypatch):
    original, copied = folder, tmp_path / "copied"
    shutil.copytree(original, copied)
    monkeypatch.setattr(files_module, "read_scorer", lambda *given: pytest.fail("built before it was checked"))
    rng, names = np.random.default_rng(0), sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    sizes = np.array([(folder / name).stat().st_size for name in names], float)
    for number in range(FLIPS):
        every, large = names[number // 2 % len(names)], names[rng.choice(len(names), p=sizes / sizes.sum())]
        name = every if number % 2 else large
        content = bytearray((original / name).read_bytes())
        at = int(rng.integers(len(content)))
        content[at] ^= 1 << int(rng.integers(8)) if number % 4 < 2 else int(rng.integers(1, 256))
        (copied / name).write_bytes(content)
        with pytest.raises(StoreCorrupt, match=re.escape(str(copied / name))):
            read_detector(copied)
        shutil.copyfile(original / name, copied / name)
    monkeypatch.undo()
    assert read_detector(copied).data_version == read_detector(original).data_version


@pytest.mark.parametrize("change", [
    lambda text: text.replace("\n", "\r", 1),
    lambda text: text.replace(" ", "\t", 1),
    lambda text: text.replace(" ", "", 1),
    lambda text: text + "\n",
    lambda text: json.dumps(tripled(json.loads(text)), indent=1) + "\n",
])  # fmt: skip
def test_another_description_is_refused_even_if_it_is_sound_json(folder, tmp_path, change):
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    description = copied / DESCRIPTION
    description.write_bytes(change(description.read_text()).encode())
    json.loads(description.read_text())
    with pytest.raises(StoreCorrupt, match=re.escape(str(description))):
        read_detector(copied)


def test_every_byte_of_the_marker_counts(folder, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    marker, content = copied / MARKER, (folder / MARKER).read_bytes()
    for at in [*range(0, len(content), max(1, len(content) // 150)), *range(len(content) - 150, len(content))]:
        marker.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(StoreCorrupt, match=re.escape(str(marker))):
            read_marker(copied)


def tripled(described):
    """Three times the calibration: a score would get another rate."""
    one = described["calibrations"][COMMITTEE]
    one["images"] = [3 * score for score in one["images"]]
    return described


@pytest.fixture(scope="module")
def answer(folder):
    """What the served model says of one image."""
    model = served(folder)
    return lambda pixels, **params: model([cv2.imencode(".png", pixels)[1].tobytes()], **params)


def test_the_served_model_answers_with_the_columns_it_says(answer, detector):
    pixels = drawn_image(1)
    for one in (pixels, drawn_image(1, 8, 8)):
        assert set(answer(one, false_alarm_rate=0.3).columns) == set(ANSWER)
    for name in NAMES:
        (row,) = answer(pixels, method=name).to_dict("records")
        assert (row["score"], row["method"]) == (detector.member(name).score(pixels).score, name)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_rate_outside_0_and_1_is_refused_by_the_served_model(answer, rate):
    with pytest.raises(Exception, match="false_alarm_rate: expected a number between 0 and 1"):
        answer(drawn_image(1), false_alarm_rate=rate)
