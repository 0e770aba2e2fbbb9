"""``<dataset>/detector``: the trained method frozen with its calibration, for images nobody has labelled."""

import json
from typing import Any

import dagster as dg

from assets.charts import calibration_chart
from assets.materialize import picture
from assets.stage import Task
from pipeline.detectors.frozen.freeze import DESCRIPTION, freeze_detector
from pipeline.store.versions import Version
from pipeline.wiring.registry import register
from pipeline.wiring.tracking import StageRun


def build_detector(task: Task, run: StageRun) -> Version:
    """Freeze the trained method with the statistics of validation normals."""
    lane = task.lane.lane
    return freeze_detector(
        task.lane.dataset,
        task.inputs["tiles"],
        task.inputs["stage2"],
        lane.evaluation.scores,
        task.store,
        flip_average=lane.evaluation.flip_average,
        form=lane.tiles.form,
        preset=task.lane.preset,
        code_version=task.origin.code_version,
    )


def describe_detector(task: Task, version: Version) -> dict[str, Any]:
    """The calibration and the canvases."""
    scores = json.loads((version.path / DESCRIPTION).read_text())["images"]
    caption = "share of normal validation images that score at least as high"
    return {
        "preview": picture(calibration_chart(scores), caption=caption),
        "calibrated_on": len(scores),
        "canvases": dg.MetadataValue.json(version.meta["canvases"]),
    }


def register_detector(task: Task, version: Version, run_id: str) -> dict[str, Any]:
    """Put it into the MLflow registry."""
    registered = register(task.tracker, task.store, version, task.inputs["evaluation"], run_id)
    return {
        "model": registered.name,
        "model_version": registered.number,
        "champion": registered.champion,
        "promotion": registered.why,
    }
