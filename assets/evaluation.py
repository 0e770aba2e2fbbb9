"""What is frozen and measured: ``detector``, ``evaluation``, ``baseline_evaluations`` and ``ablations``.

A partition of ``ablations`` is the evaluation of its experiment. What experiments share (proxies, a first stage, a
trained method) lies in the store below ``<dataset>/ablation_…``, found by the hash of all it depends on: the first
experiment that needs it makes it, and another one that needs it meanwhile waits.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd

from assets.charts import calibration_chart, score_chart, tabled
from assets.materialize import picture, provenance
from assets.stage import Check, Task
from assets.training import describe_baseline, run_facts, training_of
from pipeline.detectors.frozen.files import DESCRIPTION
from pipeline.detectors.frozen.freeze import Trained, freeze_detector
from pipeline.evaluation.checks import reconstructs, scores_complete, weights_finite
from pipeline.evaluation.evaluate import EvaluationConfig, evaluate_lane
from pipeline.evaluation.reconstruction import LEVEL
from pipeline.evaluation.records import RecordContext, find
from pipeline.evaluation.robustness import measure_robustness
from pipeline.evaluation.saved import load_evaluation
from pipeline.evaluation.score_name import PRIMARY
from pipeline.evaluation.scoreboard import LaneInputs
from pipeline.experiments.lane import step_version
from pipeline.reports.kit.words import flat
from pipeline.store.versions import Version, fingerprint
from pipeline.tiles.checks import proxy_values
from pipeline.tiles.proxies import build_proxies
from pipeline.training import train_shared

if TYPE_CHECKING:
    from pipeline.wiring.tracking import StageRun


def build_detector(task: Task, run: "StageRun") -> Version:
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
    from pipeline.wiring.registry import register  # MLflow takes most of a second to import

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
        stage=trained[-1],
        earlier=trained[:-1],
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
        facts={**facts, "drawn": task.lane.drawn},
        asset=task.origin.asset,
        scheduler_address=task.lane.scheduler,
    )


def build_evaluation(task: Task, run: "StageRun") -> Version:
    """The lane's method with its committee, controls and shortcuts."""
    trained = task.inputs["stage1"], task.inputs["stage2"]
    return evaluate(task, task.lane.lane.evaluation, _lane_facts(task), trained)


def build_baseline_evaluation(task: Task, run: "StageRun") -> Version:
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
    own.sort(key=lambda r: (r["metric"] not in SHOWN, r["score"] != PRIMARY))  # what the lane is judged by comes first
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


def build_robustness(task: Task, run: "StageRun") -> Version:
    """The frozen detector on disturbed test images."""
    inputs, origin = task.inputs, task.origin
    context = RecordContext(
        dataset=origin.dataset,
        preset=origin.preset,
        seed=origin.seed,
        data_version=inputs["images"].data_version,
        resamples=task.lane.lane.evaluation.resamples,
    )
    return measure_robustness(inputs["images"], inputs["detector"], task.folder, task.store, context)


def describe_robustness(task: Task, version: Version) -> dict[str, Any]:
    """The records as a table."""
    records = pd.DataFrame(json.loads((version.path / "records.json").read_text()))
    table = records[["subset", "metric", "value", "low", "high", "n"]].round(4)
    return {"results": dg.MetadataValue.md(table.to_markdown(index=False)), **version.meta}


SCORES = Check(scores_complete, lambda task, version: (version, task.inputs["tiles"]))
RECONSTRUCTS = Check(reconstructs, lambda task, version: (version,), severity=dg.AssetCheckSeverity.WARN)


def build_ablation(task: Task, run: "StageRun") -> Version:
    """Find or make what the experiment needs, then evaluate it.

    ``task.inputs`` then holds its own ``proxies``, its ``first_stage``, if there are several, and the whole ``method``.
    """
    lane, row, store = task.lane, task.lane.lane.ablations[task.origin.entry], task.store
    tiles, shared = task.inputs["tiles"], f"{lane.dataset.name}/ablation_"
    if row.proxies.to_json() != lane.lane.proxies.to_json():
        code, scheduler = f"{step_version('proxies')}-{fingerprint(row.proxies.to_json())}", lane.scheduler
        own = build_proxies(
            tiles, row.proxies, store, code_version=code, asset=f"{shared}proxies", scheduler_address=scheduler
        )
        _record(task, run, own, [tiles], code)
        task.inputs["proxies"] = own
    training = training_of(task, row.training, run.metrics)
    training = replace(training, asset=f"{shared}methods", code_version=step_version("baselines"))
    trained = train_shared(training, store, f"{shared}stage1")
    for number, version in enumerate(trained):
        inputs = [training.tiles, training.proxies, *trained[:number]]
        _record(task, run, version, inputs, training.code_version)
    task.inputs.update(zip(("first_stage", "method")[-len(trained) :], trained, strict=True))
    return evaluate(task, lane.lane.judging_ablation(task.origin.entry), run_facts(task, trained), trained)


def _record(task: Task, run: "StageRun", version: Version, inputs: Collection[Version], code_version: str) -> None:
    """Record the provenance of a shared part, for lineage and ``clean``; the first record stays."""
    if task.store.provenance(version.asset, version.data_version) is None:
        origin = replace(task.origin, code_version=code_version)
        task.store.record_provenance(version, provenance(origin, inputs, run.open()))


def describe_ablation(task: Task, version: Version) -> dict[str, Any]:
    """The evaluation and the training, with the picture of the evaluation."""
    return describe_baseline(task, task.inputs["method"]) | describe_evaluation(task, version)


ABLATION_CHECKS = (
    Check(proxy_values, lambda task, version: (task.inputs["tiles"], task.inputs["proxies"])),
    Check(weights_finite, lambda task, version: (task.inputs["method"],)),
    SCORES,
)
