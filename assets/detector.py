"""``<dataset>/detector``: the committee frozen with its calibration, for test images and for unlabelled ones."""

import json
from typing import Any

import dagster as dg

from assets.charts import calibration_chart
from assets.materialize import picture
from assets.stage import Task
from pipeline.detectors.frozen.freeze import DESCRIPTION, Trained, freeze_detector
from pipeline.store.versions import Version
from pipeline.wiring.registry import register
from pipeline.wiring.tracking import StageRun


def build_detector(task: Task, run: StageRun) -> Version:
    """Fit and freeze the committee with all its members."""
    lane, inputs = task.lane.lane, task.inputs
    return freeze_detector(
        task.lane.dataset,
        lane.evaluation.detector(task.origin.method),
        Trained(tiles=inputs["normals"], stage=inputs["stage2"], members=inputs["members"]),
        task.store,
        form=lane.tiles.form,
        preset=task.lane.preset,
        code_version=task.origin.code_version,
    )


def describe_detector(task: Task, version: Version) -> dict[str, Any]:
    """The calibration of what scores by default, and the members."""
    calibrations = json.loads((version.path / DESCRIPTION).read_text())["calibrations"]
    name, calibration = next(iter(calibrations.items()))
    caption = f"{name}: share of normal validation images that score at least as high"
    return {
        "preview": picture(calibration_chart(calibration["images"]), caption=caption),
        "calibrated_on": version.meta["calibrated_on"],
        "members": dg.MetadataValue.json(version.meta["members"]),
    }


def register_detector(task: Task, version: Version, run_id: str) -> dict[str, Any]:
    """Put the evaluated detector into the MLflow registry; ``version`` is its evaluation."""
    registered = register(task.tracker, task.store, task.inputs["detector"], version, run_id)
    return {
        "model": registered.name,
        "model_version": registered.number,
        "champion": registered.champion,
        "promotion": registered.why,
    }
