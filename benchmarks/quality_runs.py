"""Runs of the quality report and their records: made here, or kept from the last report."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.quality import WANTED
from pipeline.evaluation.audit import reviewed
from pipeline.evaluation.committee import COLUMN as COMMITTEE
from pipeline.evaluation.records import (
    NEEDED,
    PRIMARY,
    REVIEWED,
    image_records,
    score_columns,
    split_name,
    without_shortcuts,
)
from pipeline.evaluation.saved import load_evaluation

KEPT = ("auroc", "auroc_heldout", "auroc_adjusted", "ap", "peak_found", "pixel_auroc", "false_alarm_rate")

FITTED = "fitted_on_test:oracle"
"""Column of what no choice of weights can pass by much: weights fitted on the labels of the very test."""

Key = tuple[str, str, int, int]


def run_key(row: dict[str, Any]) -> Key:
    """What tells one run from another."""
    return row["dataset"], row["kind"], int(row["split"]), int(row["seed"])


def place(key: Key) -> tuple[int, int]:
    """Where a run stands in the report: as `benchmarks.quality` runs them."""
    dataset, *run = key
    return list(WANTED).index(dataset), WANTED[dataset].index((str(run[0]), int(run[1]), int(run[2])))


def earlier(folder: Path) -> dict[Key, tuple[dict[str, Any], pd.DataFrame]]:
    """Runs of the folder's last report with their records, which stand in ``report.json`` run by run."""
    if not (folder / "runs.json").exists():
        return {}
    records, found, start = pd.DataFrame(json.loads((folder / "report.json").read_text())), {}, 0
    for row in json.loads((folder / "runs.json").read_text()):
        own = records.iloc[start : start + row["records"]]
        start += row["records"]
        found[run_key(row)] = row, own.assign(split_seed=row["split"], kind=row["kind"])
    if start != len(records):
        raise SystemExit(f"{folder}: runs.json names {start} records, report.json has {len(records)}; make both anew")
    return found


def stage_minutes(row: dict[str, Any]) -> float:
    """Minutes of the run's stages; 0 where it had none of its own."""
    if "folder" not in row:
        return float(row["stages"])
    return round(sum(load_evaluation(Path(row["folder"])).about("minutes").values()), 1)


def records_of(row: dict[str, Any]) -> pd.DataFrame:
    """Records of one run that the report keeps, with the split's seed; audited by the reviewed list of now."""
    found = load_evaluation(Path(row["folder"]))
    records = pd.DataFrame(found.records)
    head = records.iloc[0][["dataset", "preset", "seed", "data_version"]].to_dict()
    again = image_records(found.scores, **head, n_boot=1000, reviewed=reviewed(row["dataset"]))
    without = pd.DataFrame([record for record in again if record["subset"] == REVIEWED])
    records = pd.concat([records[records["subset"] != REVIEWED], without], ignore_index=True)
    kept = pd.concat([records[records["metric"].isin(KEPT)], bounds(found.scores, head)], ignore_index=True)
    if row["kind"] == "committee":  # there the member stands in the method's place
        kept = kept.assign(method=kept["method"].replace("denoising", "member_denoising"))
    return kept.assign(split_seed=row["split"], kind=row["kind"])


def bounds(scores: pd.DataFrame, head: dict[str, Any]) -> pd.DataFrame:
    """Records of ``FITTED`` on the test, with and without what shortcuts explain; none for a lane without abnormals."""
    found = list[dict[str, Any]]()
    for metric, table in (("auroc", scores), ("auroc_adjusted", without_shortcuts(scores))):
        fitted = fitted_on_test(table)
        if fitted is not None:
            measured = image_records(fitted, **head, n_boot=1000)
            found += [
                row | {"metric": metric} for row in measured if (row["metric"], row["subset"]) == ("auroc", "all")
            ]
    return pd.DataFrame(found)


def fitted_on_test(scores: pd.DataFrame) -> pd.DataFrame | None:
    """The table with the one column ``FITTED``: all standardised scores but the committee's, in a logistic regression.

    It is judged on the images it was fitted on, so it is no result: it tells how far other weights could have led.
    None where the test has one class or a single score.
    """
    from sklearn.linear_model import LogisticRegression  # a second to import

    test = (scores["split"] == "test").to_numpy()
    names = [name for name in score_columns(scores) if split_name(name)[1] == PRIMARY and name != COMMITTEE]
    if scores["label"][test].nunique() < 2 or len(names) < 2:
        return None
    values = scores[names].to_numpy(float)
    values = (values - values[test].mean(axis=0)) / values[test].std(axis=0)
    fit = LogisticRegression(class_weight="balanced", max_iter=1000).fit(values[test], scores["label"][test])
    return scores[list(NEEDED)].assign(**{FITTED: fit.decision_function(values)})
