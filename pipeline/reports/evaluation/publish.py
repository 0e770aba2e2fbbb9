"""``evaluation_report``: built in the store, then shown at a fixed place people can bookmark."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.evaluation.saved import load_evaluation
from pipeline.reports.evaluation.page import build_report
from pipeline.store.versions import Store, Version, fingerprint

FILES = ("index.html", "report.md", "report.json")


def publish_report(
    lanes: Sequence[Version],
    datasets: Sequence[str],
    store: Store,
    folder: Path,
    provenance: Mapping[str, Any],
    *,
    code_version: str,
) -> Version:
    """Build the report over the given evaluations and copy it to ``folder``; its data version is that of its lanes."""
    versions = {lane.asset: lane.data_version for lane in lanes}
    missing = [name for name in datasets if f"{name}/evaluation" not in versions]
    key = fingerprint(versions, list(datasets), code_version)
    with store.building("evaluation_report", key) as work:
        if (done := store.built("evaluation_report", key)) is None:
            about = {**provenance, "evaluations": versions}
            if missing:
                about["not run"] = ", ".join(missing)
            build_report([load_evaluation(lane.path) for lane in lanes], work / "content", about)
            done = store.publish("evaluation_report", work / "content", key, {"lanes": versions})
    show(done, folder)
    return done


def show(report: Version, folder: Path) -> None:
    """Copy a report's files to the place people bookmark."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        beside = folder / f".{name}.part"
        shutil.copyfile(report.path / name, beside)
        os.replace(beside, folder / name)
