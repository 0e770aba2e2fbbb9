"""Lesions pasted on held-out normals: what is pasted, what counts as found, and the records of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from models.methods.makers import MakerConfig
from models.synthetic_anomalies import HELD_BACK, SHAPES, LesionConfig, paste_lesions
from pipeline.detectors.controls.pixel_classifier import ClassifierConfig
from pipeline.errors import ConfigError
from pipeline.evaluation.pasted_lesions import CLASSES, KINDS, SPLIT, TOLERANCE, LesionHit, lesion_hit, pasted_records
from pipeline.evaluation.records import RECORD_KEYS, RecordContext, find
from pipeline.evaluation.score_name import ScoreName, kind_of
from pipeline.experiments.presets import PRESETS

SIDE = 64
NAME = ScoreName.of("proxyano")
AREA = np.zeros((SIDE, SIDE), bool)
AREA[8:-8, 8:-8] = True
ALL = np.ones((SIDE, SIDE), bool)


@pytest.mark.parametrize("name", sorted(SHAPES))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_changes_the_image_inside_the_area_alone(name, channels):
    image = np.full((channels, SIDE, SIDE), 0.5, np.float32)
    config = LesionConfig(kinds=(name,), radius=(0.1, 0.2), strength=(0.2, 0.3))
    altered, mask, drawn = paste_lesions(image, AREA, config, np.random.default_rng(4))
    change = np.abs(altered - image).max(axis=0)
    assert drawn == name
    assert mask.any()
    assert (change[~AREA] == 0).all()
    assert not mask[~AREA].any()
    assert 0.2 * 0.99 <= change.max() <= 0.3 * 1.01
    assert change[mask].min() >= 0.2 * 0.49
    assert np.array_equal(image, np.full_like(image, 0.5))


def test_no_place_to_paste_is_an_error():
    with pytest.raises(ValueError, match="expected an area with pixels"):
        paste_lesions(np.zeros((1, 4, 4), np.float32), np.zeros((4, 4), bool), LesionConfig(), np.random.default_rng(0))


@pytest.mark.parametrize(("away", "hit"), [(0, 1.0), (TOLERANCE, 1.0), (TOLERANCE + 1, 0.0)])
def test_the_peak_counts_within_one_training_pixel(away, hit):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[20:30, 20:30] = True
    values = np.zeros((SIDE, SIDE), np.float32)
    values[25, 29 + away] = 3.0
    found = lesion_hit(NAME, "a", values, mask, ALL)
    assert found is not None
    assert found.peak_found == hit


def test_a_coarse_map_is_enlarged_and_an_empty_lesion_says_nothing():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:16, :16] = True
    values = np.zeros((4, 4), np.float32)
    values[0, 0] = 1
    found = lesion_hit(NAME, "a", values, mask, ALL)
    assert found is not None
    assert (found.peak_found, found.pixel_auroc > 0.95) == (1.0, True)
    assert lesion_hit(NAME, "a", values, np.zeros_like(mask), ALL) is None


def test_pixels_that_are_not_scored_do_not_count():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[20:30, 20:30] = True
    values = np.random.default_rng(0).random((SIDE, SIDE)).astype(np.float32)  # says nothing inside the scored area
    values[~AREA] = 0
    values[0, 0] = 9
    found = lesion_hit(NAME, "a", values, mask, AREA)
    assert found is not None
    assert found.pixel_auroc == pytest.approx(0.5, abs=0.1)
    assert found.peak_found == float(mask.ravel()[np.where(AREA, values, -1).argmax()])


def test_a_lesion_of_one_pixel_has_a_figure():
    for place in range(40, 47):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[place, place] = True
        found = lesion_hit(NAME, "a", mask.astype(np.float32), mask, AREA)
        assert found is not None
        assert found.pixel_auroc == 1


def test_records_are_means_over_copies_with_intervals():
    rows = [("n1", "holdout", 0, "normal", 0.0), ("n2", "holdout", 0, "normal", 1.0)]
    rows += [
        (f"n{i}+{c}", SPLIT, 1, f"{c} {k}", 0.5 + j)
        for j, c in enumerate(CLASSES)
        for i, k in ((1, "blob"), (2, "ring"))
    ]
    table = pd.DataFrame(rows, columns=["image_id", "split", "label", "klass", "proxyano:standardised"])
    table["group"] = table["image_id"].str[:2]
    hits = [LesionHit(NAME, row[0], float(row[0] == "n1+medium"), 0.75) for row in rows[2:]]
    context = RecordContext(dataset="brain_mri", preset="quick", seed=0, data_version="x", resamples=100)
    records = pasted_records(table, hits, "holdout", context)
    assert all(tuple(record) == RECORD_KEYS for record in records)
    (medium,) = find(records, metric="peak_found", subset="medium")
    assert (medium["value"], medium["n"], medium["level"]) == (0.5, 2, "pasted")
    assert 0 <= medium["low"] < 0.5 < medium["high"] <= 1
    assert find(records, metric="peak_found", subset="medium ring")[0]["value"] == 0
    assert find(records, metric="peak_found", subset="strong")[0]["value"] == 0
    aurocs = [find(records, metric="auroc", subset=name)[0]["value"] for name in CLASSES]
    assert aurocs == [0.5, 1.0, 1.0]
    faint = find(records, metric="auroc", subset="faint")[0]
    assert 0 <= faint["low"] <= 0.5 <= faint["high"] <= 1
    others = pasted_records(table.replace("holdout", "val"), hits, "val", context)
    assert others == records, "whichever normals were altered"


def test_two_kinds_are_held_back_from_everything_that_is_trained():
    held_back = set(HELD_BACK)
    assert held_back == {"streak", "square"} == set(KINDS) - set(LesionConfig().kinds)
    with pytest.raises(ValueError, match=r"MakerConfig\.makers: streak held back"):
        MakerConfig(makers=("blob", "streak"))
    with pytest.raises(ValueError, match=r"ClassifierConfig\.lesions\.kinds: square held back"):
        ClassifierConfig(lesions=LesionConfig(kinds=("square",)))
    for preset in PRESETS.values():
        for lane in preset.lanes.values():
            own = [c.options["config"].lesions for c in lane.evaluation.controls if c.name == "pixel_classifier"]
            assert not held_back & {name for lesions in own for name in lesions.kinds}
            plans = [lane.training, *lane.members.values()]
            plans += [row.training for row in (*lane.baselines.values(), *lane.ablations.values())]
            models = [canvas.model for plan in plans for canvas in plan.canvases.values()]
            assert len(models) >= 2
            assert not held_back & {maker for model in models for maker in getattr(model, "makers", ())}


def test_a_committee_names_members_that_are_there():
    lane = PRESETS["sample"].lanes["oct"]
    strange = replace(lane.evaluation, committee={"method": 1.0, "psychic": 1.0})
    with pytest.raises(ConfigError, match=r"committee: expected .*method.*pca.*segmentation.*got \['psychic'\]"):
        replace(lane, evaluation=strange)
    assert [kind_of(name) for name in ("committee", "member_denoising", "control_pca", "proxyano")] == [
        "committee",
        "member",
        "control",
        "method",
    ]
