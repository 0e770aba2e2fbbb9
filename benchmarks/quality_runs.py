"""Runs of the quality report and their records: made here, or kept from the last report."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.quality import WANTED
from pipeline.steps.audit import reviewed
from pipeline.steps.reports.lanes import load_evaluation
from pipeline.steps.reports.records import MEMBER, REVIEWED, image_records

KEPT = ("auroc", "auroc_heldout", "auroc_adjusted", "ap", "peak_found", "pixel_auroc", "false_alarm_rate")

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
    kept = records[records["metric"].isin(KEPT)]
    if row["kind"] == "committee":  # there the member stands in the method's place
        kept = kept.assign(method=kept["method"].replace("denoising", f"{MEMBER}denoising"))
    return kept.assign(split_seed=row["split"], kind=row["kind"])
