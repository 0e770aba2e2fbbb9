"""Scores of volumes: the mean of the worst slices, and rates among normal validation volumes."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.detectors.frozen.calibration import Calibration
from pipeline.detectors.volumes import volume_table, worst_slices
from pipeline.evaluation.records import RecordContext
from pipeline.evaluation.volumes import volume_records, volume_rows

SLICED = pd.DataFrame(
    {
        "image_id": [f"i{number}" for number in range(23)],
        "volume": [*("v" * 3 + "w" * 4 + "x" * 2 + "y" * 5 + "n" * 4 + "m" * 3), "alone", ""],
        "split": ["val"] * 7 + ["test"] * 16,
        "label": [0] * 9 + [1] + [0] * 13,
        "klass": ["normal"] * 9 + ["cyst"] + ["normal"] * 13,
        "group": "g",
        "pca:standardised": [1, 2, 3, 4, 5, 6, 0, 11, 1, 8, 8, 2, 8, 0, 4, 4, 4, 4, 0, 0, 0, 99, 99],
    }
)


def test_a_volume_s_score_is_the_mean_of_its_three_worst_slices() -> None:
    table = volume_table(SLICED, ["pca:standardised"])
    assert table["slices"].to_dict() == {"m": 3, "n": 4, "v": 3, "w": 4, "x": 2, "y": 5}
    assert table["pca:standardised"].to_dict() == {"m": 0, "n": 4, "v": 2, "w": 5, "x": 6, "y": 8}
    assert worst_slices(SLICED.assign(name=SLICED["image_id"]), "pca:standardised")["w"] == "i5, i4, i3"


def test_volumes_have_records_and_rates_by_normal_validation_volumes() -> None:
    context = RecordContext(dataset="ward", preset="sample", seed=0, data_version="1", resamples=10)
    records = {record["metric"]: record for record in volume_records(SLICED, context)}
    assert {record["level"] for record in records.values()} == {"volume"}
    assert (records["auroc"]["value"], records["auroc"]["n"]) == (1.0, 4)  # y against m, n and x
    assert records["false_alarm_rate"]["value"] == pytest.approx(1 / 3)  # x alone is above v and w
    paths = {f"i{number}": f"a/{number}" for number in range(len(SLICED))}
    rows = {row["volume"]: row for row in volume_rows(SLICED, "pca:standardised", paths)}
    rate = Calibration.of(np.array([2.0, 5.0])).rate
    assert {name: row["false-alarm rate"] for name, row in rows.items()} == {
        "y": round(rate(8), 4),
        "x": round(rate(6), 4),
        "n": round(rate(4), 4),
        "m": 1.0,
    }
    assert (rows["y"]["class"], rows["y"]["worst slices"]) == ("cyst", "9, 10, 12")
    assert json.loads(json.dumps(list(rows.values())))[0]["volume"] == "y"
    assert volume_records(SLICED.drop(columns="volume"), context) == []
    assert volume_records(SLICED.assign(label=0, klass="normal"), context) == []
    unknown = SLICED.assign(split="test")
    assert {record["metric"] for record in volume_records(unknown, context)} == {"auroc"}
    assert {row["false-alarm rate"] for row in volume_rows(unknown, "pca:standardised", paths)} == {""}
