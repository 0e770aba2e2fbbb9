"""Disturbed images: stronger levels are farther away, and the AUROC of a frozen detector at each of them."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.data.raw import RawFolder
from pipeline.errors import DatasetUnusable
from pipeline.evaluation import robustness
from pipeline.evaluation.records import RECORD_KEYS, RecordContext
from pipeline.evaluation.robustness import DISTURBANCES, UNCHANGED, measure_robustness
from pipeline.reports.severity_curves import draw_curves
from pipeline.store.versions import Store, Version
from tests.unit.drawn_detectors import draw, drawn_image, freeze

COUNT = 4  # images of a class
SUBSETS = {UNCHANGED: ("", 0.0), "noise 0.1": ("noise", 0.1), "size 0.125": ("size", 0.125)}
CONTEXT = RecordContext(dataset="oct", preset="sample", seed=0, data_version="d", resamples=50)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("kind", DISTURBANCES)
def test_stronger_levels_are_farther_from_the_image(kind, colour):
    image = np.kron(drawn_image(0, 80, 96), np.ones((6, 6), np.uint8))
    image = np.stack([image, image // 2, image], axis=-1) if colour else image
    one, distances = DISTURBANCES[kind], []
    for level in one.levels:
        disturbed = one.change(image, level)
        assert disturbed.dtype == np.uint8
        assert disturbed.ndim == image.ndim
        assert np.array_equal(disturbed, one.change(image, level))
        if kind == "size":
            assert disturbed.shape[:2] == (480 * level, 576 * level)
            distances.append(1 / level)
        else:
            distances.append(float(np.abs(disturbed.astype(float) - image).mean()))
    assert 0 < distances[0] < distances[1] < distances[2]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Manifest, detector, raw folder and store; abnormal images have a bright spot."""
    monkeypatch.setattr(robustness, "SUBSETS", SUBSETS)
    detector = freeze(draw(tmp_path), tmp_path / "detector", ["auto_encoder", "pca"])
    rows = []
    for number in range(2 * COUNT):
        label = int(number >= COUNT)
        image = drawn_image(number)
        image[20:60, 30:70] += np.uint8(60 * label)
        (tmp_path / "raw").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "raw" / f"{number}.png")
        rows.append(
            {"image_id": f"i{number}", "path": f"{number}.png", "split": "test", "label": label, "group": number}
        )
    return tmp_path, pd.DataFrame(rows), detector


def measured(made, table):
    root, _, detector = made
    table.to_parquet(root / "images.parquet")
    images = Version(asset="oct/images", path=root, data_version="e" * 16, meta={})
    return measure_robustness(images, detector, RawFolder(root / "raw"), Store(root / "stores"), CONTEXT)


def test_every_level_has_a_record_and_a_second_call_makes_nothing(made, tmp_path):
    version = measured(made, made[1])
    records = pd.DataFrame(json.loads((version.path / "records.json").read_text()))
    assert tuple(records.columns) == RECORD_KEYS
    assert records["subset"].tolist() == list(SUBSETS)
    assert set(records["metric"]) == {"auroc"}
    assert set(records["method"]) == {"committee"}
    assert records["n"].tolist() == [2 * COUNT, 2 * COUNT, 0], "the form refuses images of ten pixels"
    assert records["value"][:2].between(0, 1).all()
    assert records["value"].isna().tolist() == [False, False, True]
    assert records["value"][0] > 0.9
    scores = pd.read_parquet(version.path / "scores.parquet")
    assert (scores.groupby("image_id")["score"].nunique() == 2).all(), "the images were not disturbed"
    again = measured(made, made[1])
    assert (again.data_version, again.path) == (version.data_version, version.path)
    draw_curves(records, "OCT", tmp_path / "curves" / "oct.png")
    assert np.asarray(Image.open(tmp_path / "curves" / "oct.png")).std() > 10


def test_held_out_normals_are_taken_where_the_test_has_none(made):
    table = made[1]
    table.loc[table["label"] == 0, "split"] = "holdout"
    version = measured(made, table)
    assert {one["metric"] for one in json.loads((version.path / "records.json").read_text())} == {"auroc_heldout"}


def test_images_of_one_kind_are_refused(made):
    with pytest.raises(DatasetUnusable, match="expected normal and abnormal test images, got 4 of one kind"):
        measured(made, made[1][made[1]["label"] == 1])
