"""What is trained: ``<dataset>/stage1``, ``stage2``, ``members`` and the runs of ``baselines``."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.charts import training_chart
from assets.materialize import picture
from assets.stage import Check, Task
from models.schedule import last_gain
from pipeline.evaluation.checks import weights_finite
from pipeline.reports.kit.words import flat
from pipeline.store.versions import Version
from pipeline.tiles.normals import proxies_of
from pipeline.training import Log, Training, TrainingPlan, train_members, train_method, train_stage

if TYPE_CHECKING:
    from pipeline.wiring.tracking import StageRun


def training_of(task: Task, plan: TrainingPlan, log: Log) -> Training:
    """Training of a plan on the task's normals; an ablation brings its own proxies of all tiles."""
    inputs, normals = task.inputs, task.inputs.get("normals")
    return Training(
        asset=task.origin.asset,
        tiles=normals or inputs["tiles"],
        proxies=proxies_of(normals) if normals else inputs["proxies"],
        plan=plan,
        seed=task.origin.seed,
        code_version=task.origin.code_version,
        log=log,
        processes=task.lane.processes,
    )


def build_stage(task: Task, run: "StageRun") -> Version:
    """One stage of the lane's method; stage 2 on a frozen stage 1."""
    training = training_of(task, task.lane.lane.training, run.metrics)
    return train_stage(task.origin.stage, task.inputs.get("stage1"), training, task.store)


def build_members(task: Task, run: "StageRun") -> Version:
    """All stages of the lane's other learned methods, as one version."""

    def log_as(name: str) -> Log:
        return lambda step, figures: run.metrics(step, {f"{name}/{key}": value for key, value in figures.items()})

    trainings = {name: training_of(task, plan, log_as(name)) for name, plan in task.lane.lane.members.items()}
    return train_members(trainings, task.origin.asset, task.store)


def build_baseline(task: Task, run: "StageRun") -> Version:
    """All stages of one run of the benchmark."""
    return train_method(training_of(task, task.row.training, run.metrics), task.store)


def run_facts(task: Task, trained: Sequence[Version]) -> dict[str, Any]:
    """What the reports tell about a run besides its numbers; the last of ``trained`` holds the whole method."""
    row, method = task.row, trained[-1]
    plans, gains = row.training.canvases, dict[str, dict[str, float | None]]()
    for (canvas, stage), history in (each for version in trained for each in _histories(version).items()):
        gains.setdefault(canvas, {})[stage] = last_gain(history)
    return {
        "label": row.label,
        "entry": task.origin.entry,
        "config": flat({stage: row.training.of_stage(stage) for stage in row.training.stages}),
        "last_gain": gains,
        "parameters": method.meta["parameters"],
        "train_minutes": sum(version.meta["train_minutes"] for version in trained),
        "peak_memory_gib": task.store.noted(method).get("peak_gib"),
        "budget": {c: {name: stage.steps for name, stage in plan.stages.items()} for c, plan in plans.items()},
        "batch_size": {c: next(iter(plan.stages.values())).batch_size for c, plan in plans.items()},
        "learning_rate": {c: {n: stage.learning_rate for n, stage in plan.stages.items()} for c, plan in plans.items()},
    }


def _histories(version: Version) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(canvas, stage) → evaluations during training; the stage is empty where a version holds only one."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for canvas in version.meta["canvases"]:
        content = json.loads((version.path / canvas / "history.json").read_text())
        stages = content if isinstance(content, dict) else {"": content}
        found |= {(canvas, stage): history for stage, history in stages.items()}
    return found


def _best(history: list[dict[str, Any]]) -> float:
    return float(min(entry["validation"] for entry in history))


def _describe(version: Version) -> dict[str, Any]:
    """Validation losses as a chart, the model card, size and minutes."""
    losses = {f"{canvas} {stage}".strip(): history for (canvas, stage), history in _histories(version).items()}
    described: dict[str, Any] = {"model_card": dg.MetadataValue.md((version.path / "model_card.md").read_text())}
    if losses:
        described["preview"] = picture(training_chart(losses), caption="validation loss")
    return described | {name: version.meta[name] for name in ("parameters", "train_minutes") if name in version.meta}


def describe_stage(task: Task, version: Version) -> dict[str, Any]:
    """Seed, validation loss and steps of each canvas."""
    described = _describe(version) | {"seed": version.meta["seed"]}
    for (canvas, _), history in _histories(version).items():
        described |= {f"{canvas}_validation": _best(history), f"{canvas}_steps": int(history[-1]["step"])}
    return described


def describe_members(task: Task, version: Version) -> dict[str, Any]:
    """The method of each member, size and minutes."""
    return _describe(version) | {"members": dg.MetadataValue.json(version.meta["members"])}


def describe_baseline(task: Task, version: Version) -> dict[str, Any]:
    """Size, minutes and the validation loss of each canvas and stage."""
    histories = _histories(version)
    losses = {f"{canvas}_{stage}_validation": _best(history) for (canvas, stage), history in histories.items()}
    return _describe(version) | losses


CHECKS = (Check(weights_finite, lambda task, version: (version,)),)
