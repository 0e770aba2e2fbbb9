"""The label audit: who is listed, in which order, and what a reviewed list changes in the records."""

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation import audit
from pipeline.evaluation.records import REVIEWED, RecordContext, find, image_records

MEMBERS = ("a:standardised", "b:standardised")


def table() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    rows = pd.DataFrame({"split": ["train", *["val"] * 3, *["test"] * 8], "label": [0] * 8 + [1] * 4})
    rows["image_id"] = [f"i{n}" for n in range(len(rows))]
    rows["klass"] = np.where(rows["label"] == 1, "ill", "normal")
    rows["group"] = rows["image_id"]
    for name in MEMBERS:
        rows[name] = draw.normal(size=len(rows)) * 0.01 + 2.0 * rows["label"]
    return rows


def listed(rows: pd.DataFrame) -> pd.DataFrame:
    paths = {name: f"{name}.jpg" for name in rows["image_id"]}
    return audit.audit_table(rows, MEMBERS, dict.fromkeys(MEMBERS, 1.0), paths)


def test_normals_outside_training_are_listed_by_how_many_members_agree():
    rows = table().set_index("image_id")
    rows.loc["i0", list(MEMBERS)] = 9.0  # a training image
    rows.loc["i5", list(MEMBERS)] = 3.0
    rows.loc["i6", MEMBERS[0]] = 8.0  # one member alone, however loud
    found = listed(rows.reset_index())
    assert list(found["image_id"]) == ["i5", "i6"]
    assert list(found["agreeing"]) == [2, 1]
    assert found["path"].tolist() == ["i5.jpg", "i6.jpg"]
    assert (found["members"] == 2).all()


def test_the_sheet_shows_what_is_listed_and_an_empty_list_is_a_picture_too():
    rows = table()
    rows.loc[5, list(MEMBERS)] = 3.0
    bright = {name: np.full((64, 64), 200, np.uint8) for name in rows["image_id"]}
    sheet = cv2.imdecode(np.frombuffer(audit.audit_sheet(listed(rows), bright), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert (sheet == 200).sum() > 100 * 100
    empty = cv2.imdecode(np.frombuffer(audit.audit_sheet(listed(table()), bright), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert (empty == 255).all()


def test_a_reviewed_list_is_read_by_image_id_and_none_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "HERE", tmp_path)
    (tmp_path / "heads.csv").write_text("image_id,path,note\ni5,x.jpg,mass\n")
    audit.reviewed.cache_clear()
    assert audit.reviewed("heads") == ("i5",)
    assert audit.reviewed("hearts") == ()
    audit.reviewed.cache_clear()


def test_results_keep_every_image_and_stand_beside_those_without_the_reviewed():
    rows = table()
    rows.loc[5, list(MEMBERS)] = 9.0  # a test normal above every abnormal image
    context = RecordContext(dataset="d", preset="p", seed=0, data_version="v", resamples=100)
    records = image_records(rows, context, reviewed=("i5",))
    whole, without = (find(records, method="a", metric="auroc", subset=subset)[0] for subset in ("all", REVIEWED))
    assert (whole["n"], without["n"]) == (8, 7)
    assert whole["value"] == pytest.approx(0.75)
    assert without["value"] == 1.0
    assert not find(image_records(rows, context), subset=REVIEWED)
