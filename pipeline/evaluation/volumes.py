"""Volumes of an evaluation: records of level ``volume``, and a row a volume for the report."""

from typing import Any

import pandas as pd

from pipeline.detectors.frozen.calibration import Calibration
from pipeline.detectors.volumes import volume_table, worst_slices
from pipeline.evaluation.records import Record, RecordContext, image_records, score_columns, score_names
from pipeline.evaluation.score_name import SHORTCUT

METRICS = ("auroc", "auroc_heldout", "ap", "false_alarm_rate")


def volumes_of(slices: pd.DataFrame) -> pd.DataFrame:
    """Volumes as a table of images: ``image_id`` is the volume, which is abnormal if one of its slices is.

    No row without volumes.
    """
    if "volume" not in slices:
        return pd.DataFrame()
    found = volume_table(slices, score_columns(slices))
    first = slices.sort_values("label", ascending=False, kind="stable").drop_duplicates("volume").set_index("volume")
    return found.join(first[["split", "label", "klass", "group"]]).rename_axis("image_id").reset_index()


def calibrations(volumes: pd.DataFrame) -> dict[str, Calibration]:
    """Score column → scores of normal validation volumes; shortcuts have none."""
    normal = volumes[(volumes["split"] == "val") & (volumes["label"] == 0)]
    columns = [name.column for name in score_names(volumes) if name.kind != SHORTCUT]
    return {column: Calibration.of(normal[column].to_numpy(float)) for column in columns} if len(normal) else {}


def volume_records(slices: pd.DataFrame, context: RecordContext) -> list[Record]:
    """``METRICS`` over volumes; none without volumes of both classes in the test.

    ``false_alarm_rate`` is that of test volumes at the default rate, or the lowest that the validation can tell.
    """
    volumes = volumes_of(slices)
    if volumes.empty or volumes.loc[volumes["split"] == "test", "label"].nunique() < 2:
        return []
    thresholds = {column: one.threshold() for column, one in calibrations(volumes).items()}
    records = image_records(volumes, context, level="volume", thresholds=thresholds)
    return [record for record in records if record["metric"] in METRICS]


def volume_rows(slices: pd.DataFrame, column: str, paths: dict[str, str]) -> list[dict[str, Any]]:
    """A row for each test and held-out volume: its worst slices, score and rate, the highest score first.

    The rate is empty without normal validation volumes.
    """
    volumes = volumes_of(slices)
    if volumes.empty:
        return []
    known = calibrations(volumes).get(column)
    names = slices["image_id"].map(paths).map(lambda path: path.rpartition("/")[2])
    worst = worst_slices(slices.assign(name=names), column)
    shown = volumes[volumes["split"] != "val"].sort_values(column, ascending=False, kind="stable")
    return [
        {
            "volume": str(row["image_id"]),
            "class": str(row["klass"]),
            "split": str(row["split"]),
            "slices": int(row["slices"]),
            "worst slices": str(worst[row["image_id"]]),
            "score": round(float(row[column]), 4),
            "false-alarm rate": "" if known is None else round(known.rate(float(row[column])), 4),
        }
        for row in shown.to_dict("records")
    ]
