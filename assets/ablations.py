"""``<dataset>/ablations``: the paper's ablations, a partition each experiment.

A partition is the evaluation of its experiment. What experiments share (proxies, a first stage, a trained method) lies
in the store below ``<dataset>/ablation_…``, found by the hash of all it depends on: the first experiment that needs it
makes it, and another one that needs it meanwhile waits.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from assets.evaluation import SCORES, describe_evaluation, evaluate
from assets.materialize import provenance
from assets.stage import Check, Task
from assets.training import describe_baseline, run_facts, training_of
from pipeline.evaluation.checks import weights_finite
from pipeline.evaluation.reconstruction import memory_use
from pipeline.experiments.lane import step_version
from pipeline.store.versions import Version, fingerprint
from pipeline.tiles.checks import proxy_values
from pipeline.tiles.proxies import build_proxies
from pipeline.training import train_shared
from pipeline.wiring.tracking import StageRun


def build_ablation(task: Task, run: StageRun) -> Version:
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
    facts = run_facts(task, trained)
    facts["memory"] = {canvas: memory_use(trained[-1], tiles, canvas) for canvas in row.training.canvases}
    return evaluate(task, lane.lane.judging_ablation(task.origin.entry), facts, trained)


def _record(task: Task, run: StageRun, version: Version, inputs: Collection[Version], code_version: str) -> None:
    """Record the provenance of a shared part, for lineage and ``clean``; the first record stays."""
    if task.store.provenance(version.asset, version.data_version) is None:
        origin = replace(task.origin, code_version=code_version)
        task.store.record_provenance(version, provenance(origin, inputs, run.open()))


def describe_ablation(task: Task, version: Version) -> dict[str, Any]:
    """The evaluation and the training, with the picture of the evaluation."""
    return describe_baseline(task, task.inputs["method"]) | describe_evaluation(task, version)


CHECKS = (
    Check("proxy_values", lambda task, version: proxy_values(task.inputs["tiles"], task.inputs["proxies"])),
    Check("weights_finite", lambda task, version: weights_finite(task.inputs["method"])),
    SCORES,
)
