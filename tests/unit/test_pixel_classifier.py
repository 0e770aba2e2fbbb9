"""The pixel classifier on drawn images: finds kinds of lesions it was not trained on, and sees no kin of an image."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from models.metrics import auroc
from models.scoring import ScoreConfig
from models.synthetic_anomalies import LesionConfig, paste_lesions
from pipeline.detectors.contract import PixelMaps
from pipeline.detectors.controls.pixel_classifier import (
    LEAST_ODDS,
    ClassifierConfig,
    FeatureConfig,
    PixelClassifier,
    Reference,
    _chosen,
)
from pipeline.detectors.controls.registry import Control
from pipeline.detectors.images import CanvasImages, group_number
from pipeline.detectors.standardise import Standardiser
from pipeline.errors import ConfigError
from pipeline.forms.form import NO_DATA, SCORED, SEEN

pytestmark = pytest.mark.slow

SIDE = 40
LESIONS = LesionConfig(radius=(0.08, 0.2), strength=(0.15, 0.4), kinds=("blob", "dots"))
UNSMOOTHED = ScoreConfig(sigma=0.0)
CONFIG = ClassifierConfig(
    features=FeatureConfig(scales=(0.7, 1.5, 3.0), curvatures=(1.0, 2.0), mirror=True, neighbours=3),
    lesions=LESIONS,
    copies=2,
    pixels=240,
)


def heads(count: int, seed: int, split: str = "train") -> CanvasImages:
    """Soft discs of varying brightness with a dark middle and noise; a rim is seen and not scored, corners are not."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    away = np.hypot(rows, cols)
    images = [
        rng.uniform(0.4, 0.6) - 0.15 * np.exp(-(away**2) / rng.uniform(0.02, 0.1)) + rng.normal(0, 0.02, away.shape)
        for _ in range(count)
    ]
    validity = np.where(away < 0.85, SCORED, np.where(away < 1, SEEN, NO_DATA)).astype(np.uint8)
    table = pd.DataFrame({"image_id": [f"{split}{i}" for i in range(count)], "split": split, "label": 0})
    table = table.assign(klass="normal", group=[f"{split}{i // 2}" for i in range(count)], offset_row=0, offset_col=0)
    pixels = np.stack(images)[:, None].astype(np.float32)
    return CanvasImages(table, pixels, None, np.repeat(validity[None], count, axis=0))


@pytest.fixture(scope="module", autouse=True)
def small_networks():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"WIDTHS": (32, 32), "COUNT": 2, "PASSES": 20, "BATCH_SIZE": 256}.items():
            patch.setattr(f"models.pixel_network.{name}", value)
        yield


def fitted(train: CanvasImages, score: ScoreConfig = UNSMOOTHED) -> PixelClassifier:
    control = Control(
        name="pixel_classifier", canvas="head", size=(SIDE, SIDE), score=score, options={"config": CONFIG}
    )
    found = control.kind.fit(train, **control.common(0))
    assert isinstance(found, PixelClassifier)
    return found


@pytest.fixture(scope="module")
def classifier():
    return fitted(heads(24, seed=0))


def test_kinds_it_never_saw_are_found(classifier):
    images, rng = heads(12, seed=1, split="test"), np.random.default_rng(5)
    other = replace(LESIONS, kinds=("ring", "noise"))
    found = []
    for row in range(12):
        images.pixels[row], mask, _ = paste_lesions(images.pixels[row], images.scored[row], other, rng)
        odds = classifier.difference(images)[row]
        found.append(auroc(mask[images.scored[row]], odds[images.scored[row]]))
    assert np.mean(found) > 0.9


def test_untouched_normals_are_quiet(classifier):
    images = heads(12, seed=2, split="test")
    above = classifier.difference(images)
    assert np.mean(above[images.scored] > -LEAST_ODDS) < 0.05  # log-odds above 0
    assert (above[~images.seen] == 0).all()


def test_the_same_seed_gives_the_same_map(classifier):
    images = heads(2, seed=3, split="test")
    again = fitted(heads(24, seed=0))
    one, other = (each.difference(images) for each in (classifier, again))
    assert np.array_equal(one, other)


def test_an_image_is_never_compared_with_its_own_group(classifier):
    train = heads(24, seed=0)
    stranger = replace(train, images=train.images.assign(group="another"))
    with_kin, without = classifier.difference(stranger)[0], classifier.difference(train)[0]
    assert not np.array_equal(with_kin, without)
    elsewhere = classifier.reference.gray.copy()
    elsewhere[:2] = 0.9  # its own group looks like nothing any more
    assert list(classifier.reference.groups[:2]) == [group_number("train0")] * 2
    other = replace(classifier, reference=replace(classifier.reference, gray=elsewhere))
    assert np.array_equal(other.difference(train)[0], without)


def test_what_is_stored_where_nothing_was_imaged_does_not_matter():
    images = heads(6, seed=4)
    reference = Reference(images.gray[1:4], images.seen[1:4], images.groups[1:4])
    where = {"seen": images.seen[0], "group": int(images.groups[0]), "offset": (0.0, 0.0)}
    plain = reference.features(CONFIG.features, images.gray[0], **where)
    altered = np.where(images.seen[0], images.gray[0], 0.9).astype(np.float32)
    assert np.allclose(reference.features(CONFIG.features, altered, **where), plain, atol=1e-5)
    assert np.isfinite(plain).all()


def test_as_a_control_it_is_scored_like_all_others():
    train, images = heads(16, seed=5), heads(8, seed=6, split="val")
    rng = np.random.default_rng(0)
    sick = heads(8, seed=7, split="test")
    for row in range(8):
        sick.pixels[row] = paste_lesions(sick.pixels[row], sick.scored[row], LESIONS, rng)[0]
    both = CanvasImages(
        pd.concat([images.images, sick.images], ignore_index=True),
        np.concatenate([images.pixels, sick.pixels]),
        None,
        np.concatenate([images.validity, sick.validity]),
    )
    score = ScoreConfig(sigma=0.5, worst=0.05, mirrored=False)
    found = fitted(train, score)
    normal, other = (PixelMaps(one, found.parts_of(one, found.difference(one))) for one in (images, both))
    assert other.parts.shape == (16, 1, SIDE, SIDE)
    assert (other.parts >= 0).all()
    standardiser, _ = Standardiser.fit(normal, score, keep=True)
    scores = standardiser.z(standardiser.scores(both, standardiser.maps(other)))
    assert auroc(np.arange(16) >= 8, scores) > 0.9


def test_hard_pixels_are_drawn_more_often_than_others():
    class Doubts:
        """Takes the brighter half of all features' first for altered."""

        def log_odds(self, samples):
            return np.where(samples[:, 0] > 0.5, 6.0, -6.0)

    rng = np.random.default_rng(3)
    found = np.stack([np.linspace(0, 1, SIDE * SIDE, dtype=np.float32)])
    mask, scored = np.zeros((SIDE, SIDE), bool), np.ones((SIDE, SIDE), bool)
    mask[:2] = True
    third = CONFIG.pixels // 3
    drawn = _chosen(found, mask, scored, third, rng, Doubts())
    assert len(set(drawn)) == len(drawn) == 2 * third + mask.sum()
    easy, hard = found[0, drawn[mask.sum() : -third]], found[0, drawn[-third:]]
    assert (hard > 0.5).mean() > 0.9 > 0.7 > (easy > 0.5).mean()
    alike = _chosen(found, mask, scored, third, rng, None)[-third:]
    assert 0.3 < (found[0, alike] > 0.5).mean() < 0.7


@pytest.mark.parametrize("wrong", [{"copies": 0}, {"pixels": 2}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match="ClassifierConfig needs"):
        ClassifierConfig(**wrong)
    with pytest.raises(ConfigError, match="FeatureConfig needs"):
        FeatureConfig(scales=())
