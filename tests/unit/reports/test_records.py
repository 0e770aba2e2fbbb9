"""Records of image and pixel scores, and the stored evaluation."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from models.metrics import auroc
from models.pixel_curve import PIXEL_METRICS
from pipeline.errors import StoreCorrupt
from pipeline.evaluation.records import IMAGE_METRICS, RECORD_KEYS, find, image_records, without_shortcuts
from pipeline.evaluation.saved import load_evaluation, write_evaluation


def test_what_a_shortcut_explains_is_taken_out_of_the_judged_score_alone():
    draw = np.random.default_rng(0)
    size = draw.normal(size=300)
    split = np.repeat(["val", "test", "test"], 100)
    label = np.repeat([0, 0, 1], 100)
    size[200:] += 1.0  # abnormal files are larger
    lesion = draw.normal(size=300) + 0.5 * label
    ids = [str(n) for n in range(300)]
    table = pd.DataFrame({"image_id": ids, "split": split, "label": label, "klass": "x", "group": ids})
    table["a:standardised"], table["a:worst"] = size + 0.05 * draw.normal(size=300), size
    table["b:standardised"], table["shortcut_bytes:value"] = size + lesion, size
    free = without_shortcuts(table)
    test = split == "test"
    assert abs(auroc(label[test], free["a:standardised"][test]) - 0.5) < 0.08  # nothing but the shortcut
    assert auroc(label[test], free["b:standardised"][test]) == pytest.approx(auroc(label[test], lesion[test]), abs=0.05)
    assert free["a:worst"].equals(table["a:worst"])
    few = table.iloc[90:]
    assert without_shortcuts(few.drop(columns="shortcut_bytes:value")).equals(few.drop(columns="shortcut_bytes:value"))


def test_image_records_have_exactly_the_keys_and_metrics(oct_lane):
    assert all(tuple(record) == RECORD_KEYS for record in oct_lane.records)
    of_all = find(oct_lane.records, method="proxyano", score="latent", subset="all")
    assert {r["metric"] for r in of_all} == set(IMAGE_METRICS) - {"auroc_adjusted"}
    judged = find(oct_lane.records, method="proxyano", score="standardised", subset="all")
    assert {r["metric"] for r in judged} == set(IMAGE_METRICS)
    assert {r["metric"] for r in find(oct_lane.records, method="shortcut_bytes")} == {"auroc", "auroc_heldout"}
    assert {r["subset"] for r in oct_lane.records} == {"all", "CNV", "DME", "DRUSEN"}
    auroc = next(r for r in of_all if r["metric"] == "auroc")
    assert auroc["n"] == 120
    assert auroc["low"] < auroc["value"] < auroc["high"]


def test_shortcuts_are_free_of_direction(oct_lane):
    bytes_ = find(oct_lane.records, method="shortcut_bytes", metric="auroc")
    assert all(0.5 <= record["value"] <= 1 for record in bytes_)
    assert next(r for r in bytes_ if r["subset"] == "all")["value"] > 0.6


def test_a_lane_without_test_normals_still_has_its_heldout_line(scores_of, record_context):
    scores = scores_of({"proxyano:latent": 2.0}).query("split != 'test' or label == 1")
    records = image_records(scores, record_context("idrid"))
    assert {r["metric"] for r in records} == {"auroc_heldout"}


def test_image_records_refuse_unscored_images_by_name(scores_of, record_context):
    scores = scores_of({"proxyano:latent": 2.0})
    scores.loc[scores["split"] == "test", "proxyano:latent"] = np.nan
    with pytest.raises(ValueError, match="'proxyano:latent', test negatives"):
        image_records(scores, record_context("oct"))
    with pytest.raises(ValueError, match="lack the columns"):
        image_records(scores.drop(columns="group"), record_context("oct"))


def test_pixel_records_name_every_lesion_and_metric(idrid_lane):
    assert {r["metric"] for r in idrid_lane.records} == set(PIXEL_METRICS)
    assert {r["subset"] for r in idrid_lane.records} == {"all", "MA", "EX"}
    assert all(r["level"] == "pixel" and r["n"] == 4 for r in idrid_lane.records)


def test_an_evaluation_is_read_as_it_was_written(idrid_lane, tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_evaluation(
            folder,
            records=idrid_lane.records,
            scores=idrid_lane.scores,
            curves=idrid_lane.curves,
            panels=idrid_lane.panels,
            summary=idrid_lane.summary,
        )
    back = load_evaluation(tmp_path / "a")
    assert back.records == idrid_lane.records
    assert back.summary == idrid_lane.summary
    assert back.panels == idrid_lane.panels
    assert back.curves == idrid_lane.curves
    pd.testing.assert_frame_equal(back.scores, idrid_lane.scores.reset_index(drop=True))
    for path in (p for p in (tmp_path / "a").rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    (tmp_path / "b" / "summary.json").unlink()
    with pytest.raises(StoreCorrupt, match="summary"):
        load_evaluation(tmp_path / "b")


def test_a_lane_checks_its_keys(oct_lane):
    with pytest.raises(ValueError, match=r"missing \['seed'\], unknown \['colour'\]"):
        replace(oct_lane, summary={**{k: v for k, v in oct_lane.summary.items() if k != "seed"}, "colour": 1})
    with pytest.raises(ValueError, match="a record has the keys"):
        replace(oct_lane, records=[{**oct_lane.records[0], "extra": 1}])
