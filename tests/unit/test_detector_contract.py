"""What every detector keeps, network or control: no image depends on another, and saving changes nothing."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import zarr
from numpy.testing import assert_array_equal

from models.checkpoint import save_method
from models.methods import METHODS, build
from models.scoring import ScoreConfig
from models.synthetic_anomalies import LesionConfig
from pipeline.detectors.contract import CanvasDetector, joined
from pipeline.detectors.controls.pixel_classifier import ClassifierConfig, FeatureConfig
from pipeline.detectors.controls.registry import CONTROLS, RAW, Control
from pipeline.detectors.frozen.files import arrays_of, read_scorer, write_scorer
from pipeline.detectors.network import NetworkDetector
from pipeline.detectors.standardise import CanvasScorer
from pipeline.forms.form import NO_DATA, SCORED, TILE
from pipeline.store.shards import create, open_array, write_rows
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, tiles_of

pytestmark = pytest.mark.slow

SIZE = (32, 32)
SPLITS = ["train"] * 8 + ["val"] * 5 + ["test"] * 4
FIRST_TEST = SPLITS.index("test")
SCORE = ScoreConfig(signed=True, sigma=1.0, worst=0.05)
CLASSIFIER = ClassifierConfig(
    features=FeatureConfig(scales=(0.7, 1.5, 3.0), curvatures=(1.0,), neighbours=2, line_blob=True),
    lesions=LesionConfig(radius=(0.08, 0.2), kinds=("blob",)),
    copies=1,
    pixels=60,
)
OPTIONS = {"pca": {"components": 3, "mirrored": True}, "median": {"window": 9}, "canonical": {"neutral": 128}}
OPTIONS |= {"line_blob": {"neutral": 128}, "pixel_classifier": {"config": CLASSIFIER}}
SCORES = {"line_blob": replace(SCORE, lines=(5, 9)), "patch_neighbour": replace(SCORE, similar=2, mirrored=False)}
NETWORKS = {"denoising": SCORE, "segmentation": replace(SCORE, signed=False, sigma=0.0)}
NETWORKS["denoising beside"] = ScoreConfig(sigma=1.0, beside=2, own_mirror=True)
NETWORKS["denoising fine"] = replace(SCORE, fine=True)
NAMES = sorted(set(CONTROLS) - {"slic"}) + list(NETWORKS)


def stored(folder, *, other_test_images=False) -> Version:
    """Noisy discs; the test images may be inverted."""
    rng, count = np.random.default_rng(3), len(SPLITS)
    rows, cols = np.mgrid[-1 : 1 : TILE * 1j, -1 : 1 : TILE * 1j]
    disc = 120 - 60 * (np.hypot(rows, cols) < 0.5)
    pixels = np.clip(disc + rng.normal(0, 12, (count, 1, TILE, TILE)) + rng.normal(0, 9, (count, 1, 1, 1)), 0, 255)
    if other_test_images:
        pixels[FIRST_TEST:] = 255 - pixels[FIRST_TEST:]
    validity = np.full((count, TILE, TILE), SCORED, np.uint8)
    validity[:, :24] = NO_DATA
    group = zarr.open_group(folder, mode="w", attributes={"neutral": 0})
    for name, values in (("pixels", pixels.astype(np.uint8)), ("validity", validity)):
        create(group, name, values.shape, shard=8, level=1)
        write_rows(open_array(folder, name, "r+"), 0, values)
    index = pd.DataFrame({"tile": range(count), "image_id": [f"i{n}" for n in range(count)], "split": SPLITS})
    index = index.assign(label=0, klass="normal", group=index["image_id"], canvas="head", canvas_row=0, canvas_col=0)
    index.assign(offset_row=0.0, offset_col=0.0).to_parquet(folder / "index.parquet")
    return Version(asset="x/tiles", path=folder, data_version="a" * 16, meta={})


def fit(name, tiles, folder) -> CanvasDetector:
    if name in NETWORKS:
        method = name.split()[0]
        network = build(method, METHODS[method].config_type(), seed=0)
        save_method(network, folder / "head", stage=network.stages[-1].name, extra={"size": list(SIZE)})
        stage = Version(asset="x/stage", path=folder, data_version="b" * 16, meta={})
        return NetworkDetector.trained(stage, tiles, "head", NETWORKS[name], flip_average=True)
    score, options = SCORES.get(name, SCORE), OPTIONS.get(name, {})
    return Control(name=name, canvas="head", size=SIZE, score=score, options=options).fit(tiles)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("tiles"))


@pytest.fixture(scope="module")
def fitted(tiles, tmp_path_factory):
    """Name → detector, each fitted once."""
    return cache(lambda name: fit(name, tiles, tmp_path_factory.mktemp("stage")))


def shown(tiles, *numbers) -> TileSet:
    return tiles_of(tiles, None, canvas="head", image_ids=[f"i{n}" for n in numbers])


@pytest.mark.parametrize("name", NAMES)
def test_maps_do_not_depend_on_batch_order_or_neighbours(name, fitted, tiles):
    detector = fitted(name)
    together = detector.maps(shown(tiles, 13, 14, 15, 16)).parts
    alone = [detector.maps(shown(tiles, n)).parts[0] for n in (16, 15, 14, 13)]
    assert_array_equal(together, np.stack(alone[::-1]))
    assert_array_equal(joined(detector.maps(shown(tiles, *pair)) for pair in ((13, 14), (15, 16))).parts, together)


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_finite_and_not_negative_on_any_image(name, fitted, tiles):
    images = shown(tiles, 13, 14, 15)
    images.pixels[0], images.pixels[1] = 0, 255  # blank images
    images.validity[2, 40:] = NO_DATA  # next to nothing was imaged
    found = fitted(name).maps(images).parts
    assert found.ndim == 4
    assert np.isfinite(found).all()
    assert found.min() >= 0


@pytest.mark.parametrize("name", sorted(set(NAMES) - RAW))
def test_what_is_saved_scores_as_what_was_fitted(name, fitted, tiles, tmp_path):
    scorer, _ = CanvasScorer.fit(fitted(name), tiles)
    entry = write_scorer(tmp_path / "saved", scorer) | ({} if name in NETWORKS else {"control": name})
    read = read_scorer(tmp_path / "saved", "head", entry, "cpu")
    images = shown(tiles, 13, 14, 15, 16)
    before, after = scorer.score(images), read.score(images)
    assert_array_equal(np.stack(after.maps), np.stack(before.maps))
    assert_array_equal(after.z, before.z)
    assert read.normal_scores() == scorer.normal_scores()


@pytest.mark.parametrize("name", sorted(set(NAMES) - RAW))
def test_copies_of_training_images_are_declared(name, fitted, tiles):
    train = shown(tiles, *range(8))
    copied = [array for array in arrays_of(fitted(name)).values() if array.ndim == 3 and len(array) == 8]
    gray = fitted(name).maps(train).images.gray
    holds = any(array.shape == gray.shape and np.allclose(array, gray) for array in copied)
    assert fitted(name).holds_copies() == holds


@pytest.mark.parametrize("name", sorted(set(NAMES) - RAW))
def test_nothing_of_test_images_is_in_the_state(name, fitted, tiles, tmp_path):
    changed = stored(tmp_path / "tiles", other_test_images=True)
    again, _ = CanvasScorer.fit(fit(name, changed, tmp_path), changed)
    first, _ = CanvasScorer.fit(fitted(name), tiles)
    one, other = arrays_of(first), arrays_of(again)
    assert one.keys() == other.keys()
    for key in one:
        assert_array_equal(other[key], one[key])
