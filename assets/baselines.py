"""``<dataset>/baselines`` and ``<dataset>/baseline_evaluations``: the benchmark's runs, a partition each.

ProxyAno is among them, at the same budget as all others. A run that stands is found again by its own configuration:
another row of the benchmark leaves it alone, and so does whatever else changes in the lane.
"""

import json
from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.charts import training_chart
from assets.evaluation import describe_evaluation
from assets.lane import LaneAssets, flat
from assets.materialize import check_result, picture, weights_check
from models.convergence import last_gain
from pipeline.errors import NeverMaterialized, StoreCorrupt
from pipeline.evaluation.checks import scores_complete
from pipeline.evaluation.evaluate import evaluate_lane
from pipeline.evaluation.scoreboard import LaneInputs
from pipeline.experiments.lane import Baseline
from pipeline.store.versions import Store, Version
from pipeline.training import Training, train_method
from pipeline.wiring.resources import StoreResource, TrackerResource

STAGES = ("baselines", "baseline_evaluations")
READ = {"baselines": ("tiles", "proxies"), "baseline_evaluations": ("images", "tiles", "proxies")}
"""Stage → what of the lane it reads; an evaluation reads its own baseline too."""


def baselines_asset(lane: LaneAssets) -> dg.AssetsDefinition:
    """Trained methods of one lane's benchmark."""

    @dg.asset(
        **_declared(lane, "baselines", {"pytorch"}, "weights_finite"),
        ins={stage: lane.into(stage) for stage in READ["baselines"]},
        description="Every method of the benchmark, trained with one budget of steps on the lane's tiles.",
    )
    def baselines(
        context: dg.AssetExecutionContext,
        tiles: Version,
        proxies: Version,
        store: StoreResource,
        tracker: TrackerResource,
    ) -> dg.MaterializeResult:
        name = context.partition_key
        row = lane.lane.baselines[name]

        def build(run: Any) -> Version:
            training = Training(
                asset=lane.baseline("baselines", name),
                tiles=tiles,
                proxies=proxies,
                plan=row.training,
                seed=row.seed,
                code_version=lane.lane.baseline_version("baselines", name),
                log=run.metrics,
            )
            made = train_method(training, store.open())
            run.artifact(made.path, "checkpoint")
            return made

        return lane.run(
            context,
            "baselines",
            name=name,
            tracker=tracker.open(),
            store=store.open(),
            inputs=[tiles, proxies],
            parameters=parameters_of(lane, row),
            build=build,
            describe=describe_method,
            checks=weights_check,
        )

    return baselines


def baseline_evaluations_asset(lane: LaneAssets) -> dg.AssetsDefinition:
    """Scores of the trained methods on the lane's images."""

    @dg.asset(
        **_declared(lane, "baseline_evaluations", {"scikitlearn", "parquet"}, "scores_complete"),
        ins={stage: lane.into(stage) for stage in (*READ["baseline_evaluations"], "baselines")},
        description="Scores, metrics and pictures of every method of the benchmark, judged like the lane's own.",
    )
    def baseline_evaluations(
        context: dg.AssetExecutionContext,
        images: Version,
        tiles: Version,
        proxies: Version,
        baselines: Version,
        store: StoreResource,
        tracker: TrackerResource,
    ) -> dg.MaterializeResult:
        name = context.partition_key
        row = lane.lane.baselines[name]
        inputs = LaneInputs(dataset=lane.dataset, images=images, tiles=tiles, proxies=proxies, trained=(baselines,))

        def build(run: Any) -> Version:
            made = evaluate_lane(
                inputs,
                lane.lane.judging(name),
                store.open(),
                preset=lane.preset,
                method=row.training.method,
                seed=row.seed,
                code_version=lane.lane.baseline_version("baseline_evaluations", name),
                facts=facts_of(row, name, (baselines,), store.open()),
                asset=lane.baseline("baseline_evaluations", name),
            )
            run.artifact(made.path, "evaluation")
            return made

        return lane.run(
            context,
            "baseline_evaluations",
            name=name,
            tracker=tracker.open(),
            store=store.open(),
            inputs=[images, tiles, proxies, baselines],
            parameters=parameters_of(lane, row),
            build=build,
            describe=lambda version: describe_evaluation(version, row.training.method),
            checks=lambda version: [check_result("scores_complete", scores_complete(version, tiles))],
        )

    return baseline_evaluations


def missing(lane: LaneAssets, store: Store) -> dict[str, tuple[str, ...]]:
    """Runs of the benchmark that do not stand on the lane's current versions → the stages that are to be made."""
    due = {}
    for name in lane.lane.baselines:
        stages = tuple(stage for stage in STAGES if not _stands(lane, store, stage, name))
        if stages:
            due[name] = STAGES if "baselines" in stages else stages
    return due


def _stands(lane: LaneAssets, store: Store, stage: str, name: str) -> bool:
    """The current version was made from what is current now, by the code and the configuration of now."""
    try:
        held = store.current(lane.baseline(stage, name))
        read = [store.current(lane.key(other).to_user_string()) for other in READ[stage]]
        if stage == "baseline_evaluations":
            read.append(store.current(lane.baseline("baselines", name)))
    except (NeverMaterialized, StoreCorrupt):
        return False
    origin = store.origin(held.asset, held.data_version)
    return (
        origin is not None
        and origin.inputs == {version.asset: version.data_version for version in read}
        and origin.code_version == lane.lane.baseline_version(stage, name)
    )


def _declared(lane: LaneAssets, stage: str, kinds: set[str], check: str) -> dict[str, Any]:
    """No pool, so that runs of one lane can be made side by side; nothing runs by itself."""
    partitions = dg.StaticPartitionsDefinition(list(lane.lane.baselines))
    apart = {"partitions_def": partitions, "automation_condition": None, "pool": None}
    return lane.declare(stage, kinds=kinds, checks=(check,), **apart)


def parameters_of(lane: LaneAssets, row: Baseline) -> dict[str, Any]:
    """A run's configuration for MLflow."""
    first = next(iter(row.training.canvases.values()))
    steps = sum(config.steps for config in first.stages.values())
    own = {"method": row.training.method, "seed": row.seed, "preset": lane.preset, "steps": steps}
    plans = {stage: row.training.of_stage(stage) for stage in row.training.stages}
    return own | flat(plans) | flat({"scores": lane.lane.evaluation.scores})


def facts_of(row: Baseline, name: str, trained: Sequence[Version], store: Store) -> dict[str, Any]:
    """What the reports tell of a run beside its numbers; ``trained``: its versions, the whole method last."""
    plans = row.training.canvases
    return {
        "label": row.label,
        "entry": name,
        "config": flat({stage: row.training.of_stage(stage) for stage in row.training.stages}),
        "last_gain": last_gains(trained),
        "parameters": trained[-1].meta["parameters"],
        "train_minutes": sum(version.meta["train_minutes"] for version in trained),
        "peak_memory_gib": store.noted(trained[-1]).get("peak_gib"),
        "budget": {c: {stage: row.steps for stage, row in plan.stages.items()} for c, plan in plans.items()},
        "batch_size": {c: next(iter(plan.stages.values())).batch_size for c, plan in plans.items()},
        "learning_rate": {
            c: {stage: row.learning_rate for stage, row in plan.stages.items()} for c, plan in plans.items()
        },
    }


def histories_of(version: Version) -> dict[str, dict[str, Any]]:
    """Canvas → stage → evaluations of its training."""
    return {
        canvas: json.loads((version.path / canvas / "history.json").read_text()) for canvas in version.meta["canvases"]
    }


def last_gains(trained: Sequence[Version]) -> dict[str, dict[str, float | None]]:
    """Canvas → stage → what the last quarter of its steps still gained on validation."""
    found: dict[str, dict[str, float | None]] = {}
    for version in trained:
        for canvas, stages in histories_of(version).items():
            found.setdefault(canvas, {}).update({stage: last_gain(history) for stage, history in stages.items()})
    return found


def describe_method(version: Version) -> dict[str, Any]:
    """What the pages show of a trained method: size, minutes, validation losses, model card."""
    described: dict[str, Any] = {
        "parameters": version.meta["parameters"],
        "train_minutes": float(version.meta["train_minutes"]),
        "model_card": dg.MetadataValue.md((version.path / "model_card.md").read_text()),
    }
    histories = {}
    for canvas, stages in histories_of(version).items():
        for stage, history in stages.items():
            histories[f"{canvas} {stage}"] = history
            described[f"{canvas}_{stage}_validation"] = float(min(entry["validation"] for entry in history))
    return described | {"preview": picture(training_chart(histories), caption="validation loss")}
