"""What is frozen and measured: ``detector``, ``evaluation`` and ``baseline_evaluations``."""

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pandas as pd

from assets.charts import calibration_chart, score_chart, tabled
from assets.lane import flat
from assets.materialize import picture
from assets.stage import Check, Task
from assets.training import run_facts
from pipeline.detectors.frozen.files import DESCRIPTION
from pipeline.detectors.frozen.freeze import Trained, freeze_detector
from pipeline.evaluation.checks import reconstructs, scores_complete
from pipeline.evaluation.evaluate import EvaluationConfig, evaluate_lane
from pipeline.evaluation.reconstruction import LEVEL
from pipeline.evaluation.records import find
from pipeline.evaluation.saved import load_evaluation
from pipeline.evaluation.scoreboard import LaneInputs
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
    return register(task.tracker, task.store, task.inputs["detector"], version, run_id)


READS = ("images", "tiles", "proxies", "stage1", "stage2", "members", "detector")
SHOWN = ("auroc", "auroc_heldout", "ap", "auroc_minus_null")


def evaluate(task: Task, config: EvaluationConfig, facts: Mapping[str, Any], trained: tuple[Version, ...]) -> Version:
    """Evaluate the last of ``trained`` on the task's images."""
    inputs = LaneInputs(
        dataset=task.lane.dataset,
        images=task.inputs["images"],
        tiles=task.inputs["tiles"],
        proxies=task.inputs["proxies"],
        trained=trained,
        members=task.inputs.get("members"),
        detector=task.inputs.get("detector"),
    )
    return evaluate_lane(
        inputs,
        config,
        task.store,
        preset=task.lane.preset,
        method=task.origin.method,
        seed=task.origin.seed,
        code_version=task.origin.code_version,
        facts=facts,
        asset=task.origin.asset,
    )


def build_evaluation(task: Task, run: StageRun) -> Version:
    """The lane's method with its committee, controls and shortcuts."""
    trained = task.inputs["stage1"], task.inputs["stage2"]
    return evaluate(task, task.lane.lane.evaluation, _lane_facts(task), trained)


def build_baseline_evaluation(task: Task, run: StageRun) -> Version:
    """One run of the benchmark."""
    trained = (task.inputs["baselines"],)
    return evaluate(task, task.lane.lane.judging(task.origin.entry), run_facts(task, trained), trained)


def evaluation_parameters(task: Task) -> dict[str, Any]:
    """The configuration of all that the evaluation reads, as MLflow parameters."""
    lane = task.lane
    stages = {stage: lane.lane.of_stage(stage) for stage in READS if stage != "stage1"}
    return flat(lane.lane.evaluation) | flat(stages) | {"preset": lane.preset, "seed": lane.seed}


def _lane_facts(task: Task) -> dict[str, Any]:
    """Configuration, minutes, memory and MLflow links of the inputs; not part of the data version."""
    dataset, tracker = task.lane.dataset.name, task.tracker
    notes = {stage: note for stage, version in task.inputs.items() if (note := task.store.noted(version))}
    runs = {stage: tracker.find(dataset, version) for stage, version in task.inputs.items()}
    return {
        "config": flat({stage: task.lane.lane.of_stage(stage) for stage in (*READS, "evaluation")}),
        "minutes": {stage: note["minutes"] for stage, note in notes.items()},
        "peak_memory_gib": max((note["peak_gib"] for note in notes.values()), default=None),
        "mlflow": {stage: tracker.url(dataset, run_id) for stage, run_id in runs.items() if run_id is not None},
    }


def describe_evaluation(task: Task, version: Version) -> dict[str, Any]:
    """Results, counts and pictures; the method's own figures have the same names in every evaluation."""
    lane, method = load_evaluation(version.path), task.origin.method
    records = pd.DataFrame(lane.records)
    key = records[(records["subset"] == "all") & records["metric"].isin(SHOWN) & (records["score"] != "value")]
    own = [r for r in lane.records if r["method"] == method and r["subset"] == "all" and r["value"] is not None]
    described: dict[str, Any] = {f"{r['level']}_{r['metric']}_{r['score']}": float(r["value"]) for r in own}
    for r in find(lane.records, level=LEVEL, method=method):  # such as reconstruction_r2_wide_validation_normals
        described[f"{r['metric']}_{r['score']}_{r['subset']}".replace(" ", "_")] = float(r["value"])
    table = key[["method", "level", "score", "metric", "value", "low", "high", "n"]].round(4)
    panels = {panel.file.removesuffix(".png"): picture(panel.png, caption=panel.caption) for panel in lane.panels[:2]}
    return {
        **described,
        "results": dg.MetadataValue.md(table.to_markdown(index=False)),
        "quarantined": len(lane.about("quarantine")),
        "counts": dg.MetadataValue.json(lane.about("counts")),
        "preview": picture(score_chart(lane.records), caption="image AUROC with 95 % intervals"),
        **tabled(lane.scores),
        **panels,
    }


SCORES = Check("scores_complete", lambda task, version: scores_complete(version, task.inputs["tiles"]))
RECONSTRUCTS = Check("reconstructs", lambda task, version: reconstructs(version), severity=dg.AssetCheckSeverity.WARN)
