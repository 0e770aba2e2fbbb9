"""Every control by its name gives non-negative maps of the right shape, scored like a method."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from models.scoring import ScoreConfig
from pipeline.detectors.controls.pca import pca_residual
from pipeline.detectors.controls.registry import CONTROLS, RAW, Control
from pipeline.detectors.normal_residuals import NormalResiduals
from pipeline.detectors.scorers import CanvasImages, score_canvas
from pipeline.errors import ConfigError
from pipeline.forms.form import NO_DATA, SCORED

SIZE = (48, 40)
SCORE = ScoreConfig(signed=True, sigma=1.0, worst=0.05)
OPTIONS = {"pca": {"components": 3, "mirrored": True}, "median": {"window": 9}, "canonical": {"neutral": 128}}
OPTIONS["line_blob"] = OPTIONS["canonical"]
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


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_control_gives_parts_of_every_image(name, train, images):
    control = Control(
        name=name, canvas="whole", size=SIZE, score=SCORES.get(name, SCORE), options=OPTIONS.get(name, {})
    )
    parts_of = CONTROLS[name](train, images, control)
    for row in range(len(images.images)):
        found = parts_of(row)
        assert found.ndim == 3
        assert found.shape[1:] == SIZE
        assert np.isfinite(found).all()
        assert found.min() >= 0


@pytest.mark.parametrize("name", sorted(set(CONTROLS) - RAW))
def test_a_planted_lesion_stands_out(name, train, images):
    control = Control(
        name=name, canvas="whole", size=SIZE, score=SCORES.get(name, SCORE), options=OPTIONS.get(name, {})
    )
    score = score_canvas(images, CONTROLS[name](train, images, control), control.score)
    lesion = score.map_of(5)
    assert lesion[20:28, 12:20].mean() > lesion[images.scored[5]].mean()
    assert score.image()[5] > score.image()[:5].max()


def test_raw_controls_are_what_they_say(train, images):
    def values(name):
        return CONTROLS[name](train, images, Control(name=name, canvas="whole", size=SIZE))(2)[0]

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
        CONTROLS["slic"](train, bare, Control(name="slic", canvas="whole", size=SIZE))


def test_line_blob_maps_without_lines_are_refused(train, images):
    with pytest.raises(ConfigError, match="lines"):
        CONTROLS["line_blob"](train, images, Control(name="line_blob", canvas="whole", size=SIZE, score=SCORE))


def test_pca_beside_normals_asks_what_it_leaves_of_them(train, images):
    score = ScoreConfig(sigma=0.0, beside=3)
    control = Control(name="pca", canvas="whole", size=SIZE, score=score, options=OPTIONS["pca"])
    left, shown = (pca_residual(train, asked, **OPTIONS["pca"]) for asked in (train, images))
    expected = NormalResiduals(train.gray, train.scored, left).difference(images, shown, score)
    found = CONTROLS["pca"](train, images, control)
    for row in range(len(images.images)):
        assert_allclose(found(row)[0], expected[row] * images.scored[row], atol=1e-6)
    with pytest.raises(ConfigError, match="only median, pca, similar_mean, slic give"):
        Control(name="nearest", canvas="whole", size=SIZE, score=score)
