"""Every control by its name gives non-negative maps of the right shape, scored like a method."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from models.scoring import ScoreConfig
from pipeline.detectors.contract import PixelMaps
from pipeline.detectors.controls.registry import CONTROLS, RAW, Control
from pipeline.detectors.images import CanvasImages
from pipeline.detectors.neighbour import NormalResiduals
from pipeline.detectors.standardise import Standardiser
from pipeline.errors import ConfigError
from pipeline.forms.form import NO_DATA, SCORED

SIZE = (48, 40)
SCORE = ScoreConfig(signed=True, sigma=1.0, worst=0.05)
OPTIONS = {"pca": {"components": 3, "mirrored": True}, "median": {"window": 9}, "canonical": {"neutral": 128}}
OPTIONS["line_blob"] = OPTIONS["canonical"]
OPTIONS["feature_neighbour"] = {"blocks": (3,)}  # cells of 4 px: these images are small
SCORES = {"line_blob": replace(SCORE, lines=(9, 17))}


def make(count: int, split: str, seed: int) -> CanvasImages:
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0.2, 0.8, SIZE[1], dtype=np.float32) * np.ones((count, 1, *SIZE), np.float32)
    pixels = np.clip(ramp + rng.normal(0, 0.03, ramp.shape), 0, 1).astype(np.float32)
    validity = np.full((count, *SIZE), SCORED, np.uint8)
    validity[:, :3] = NO_DATA
    splits = [split] * count if split == "train" else ["val"] * (count - 2) + ["test"] * 2
    table = pd.DataFrame({"image_id": [f"{split}{i}" for i in range(count)], "split": splits, "label": 0})
    table = table.assign(klass="normal", group=table["image_id"], offset_row=0.0, offset_col=0.0)
    return CanvasImages(table, pixels, np.full_like(pixels, 0.5), validity)


@pytest.fixture
def train():
    return make(6, "train", 0)


@pytest.fixture
def images():
    images = make(6, "asked", 1)
    images.pixels[-1, 0, 20:28, 12:20] = 1.0  # a lesion in the last test image
    return images


def fit(name, train, **changes):
    values = {"score": SCORES.get(name, SCORE), "options": OPTIONS.get(name, {}), **changes}
    control = Control(name=name, canvas="whole", size=SIZE, **values)
    return control.kind.fit(train, **control.common(0))


def maps(detector, images):
    found = detector.difference(images)
    return PixelMaps(images, detector.parts_of(images, found), found)


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_control_gives_parts_of_every_image(name, train, images):
    found = maps(fit(name, train), images).parts
    assert found.ndim == 4
    assert found.shape[0] == len(images.images)
    assert found.shape[2:] == SIZE
    assert np.isfinite(found).all()
    assert found.min() >= 0


@pytest.mark.parametrize("name", sorted(set(CONTROLS) - RAW))
def test_a_planted_lesion_stands_out(name, train, images):
    detector, normals = fit(name, train), make(6, "normal", 2)
    standardiser, _ = Standardiser.fit(maps(detector, normals), detector.score)
    lesion = standardiser.maps(maps(detector, images))
    scores = standardiser.z(standardiser.scores(images, lesion))
    assert lesion[5][20:28, 12:20].mean() > lesion[5][images.scored[5]].mean()
    assert scores[5] > scores[:5].max()


def test_raw_controls_are_what_they_say(train, images):
    def values(name):
        return maps(fit(name, None), images).parts[2, 0]

    assert_allclose(values("brightness"), images.gray[2])
    assert_allclose(values("darkness"), 1 - images.gray[2], rtol=1e-6)
    centre = values("centre")
    assert np.unravel_index(centre.argmax(), SIZE) in [(r, c) for r in (23, 24) for c in (19, 20)]
    assert centre[0, 0] == centre.min()


def test_unknown_names_and_missing_proxies_are_named(train, images):
    with pytest.raises(ConfigError, match=r"one of .*'brightness'.* got 'magic'"):
        Control(name="magic", canvas="whole", size=SIZE)
    bare = CanvasImages(images.images, images.pixels, None, images.validity)
    with pytest.raises(ConfigError, match="needs the proxies"):
        fit("slic", None).difference(bare)


def test_line_blob_maps_without_lines_are_refused():
    with pytest.raises(ConfigError, match="lines"):
        Control(name="line_blob", canvas="whole", size=SIZE, score=SCORE)


def test_pca_beside_normals_asks_what_it_leaves_of_them(train, images):
    score = ScoreConfig(sigma=0.0, beside=3)
    plain, beside = fit("pca", train, score=ScoreConfig(sigma=0.0)), fit("pca", train, score=score)
    left, shown = plain.difference(train), plain.difference(images)
    expected = NormalResiduals(train.gray, train.scored, left).difference(images, shown, score)
    found = maps(beside, images).parts
    for row in range(len(images.images)):
        assert_allclose(found[row, 0], expected[row] * images.scored[row], atol=1e-6)
    assert beside.holds_copies()
    with pytest.raises(ConfigError, match="only median, pca, similar_mean, slic give"):
        Control(name="nearest", canvas="whole", size=SIZE, score=score)
