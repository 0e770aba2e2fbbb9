"""``<dataset>/ablations``: the paper's ablations, a partition each experiment.

A partition is the evaluation of its experiment. What experiments share (proxies, a first stage, a trained method) lies
in the store below ``<dataset>/ablation_…``, found by the hash of all it depends on: it is made once, by whichever
experiment comes first, and another one that needs it meanwhile waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from assets.baselines import describe_method, facts_of, parameters_of
from assets.evaluation import describe_evaluation
from assets.lane import LaneAssets
from assets.materialize import check_result, weights_check
from pipeline.errors import NeverMaterialized, StoreCorrupt
from pipeline.evaluation.checks import scores_complete
from pipeline.evaluation.evaluate import evaluate_lane
from pipeline.evaluation.memory_use import memory_use
from pipeline.evaluation.scoreboard import LaneInputs
from pipeline.experiments.lane import Ablation, step_version
from pipeline.store.provenance import Provenance
from pipeline.store.versions import Store, Version, fingerprint
from pipeline.tiles.checks import proxy_values
from pipeline.tiles.proxies import build_proxies
from pipeline.training import Training, train_shared
from pipeline.wiring.commit import git_commit
from pipeline.wiring.resources import StoreResource, TrackerResource

STAGE = "ablations"
READ = ("images", "tiles", "proxies")
CHECKS = ("proxy_values", "weights_finite", "scores_complete")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What an experiment stands on: shared with others, or its own."""

    proxies: Version
    trained: tuple[Version, ...]  # the last one holds the whole method

    @property
    def method(self) -> Version:
        """The trained method."""
        return self.trained[-1]


def ablations_asset(lane: LaneAssets) -> dg.AssetsDefinition:
    """The experiments of one lane."""
    partitions = dg.StaticPartitionsDefinition(list(lane.lane.ablations))
    apart: dict[str, Any] = {"partitions_def": partitions, "automation_condition": None, "pool": None}

    @dg.asset(
        **lane.declare(STAGE, kinds={"pytorch", "parquet"}, checks=CHECKS, **apart),
        ins={stage: lane.into(stage) for stage in READ},
        description="Each experiment of the paper's ablations, trained with one budget of steps and scored.",
    )
    def ablations(
        context: dg.AssetExecutionContext,
        images: Version,
        tiles: Version,
        proxies: Version,
        store: StoreResource,
        tracker: TrackerResource,
    ) -> dg.MaterializeResult:
        name, opened = context.partition_key, store.open()
        row = lane.lane.ablations[name]
        inputs = [images, tiles]  # grows by what the experiment is made of
        made: list[Parts] = []

        def build(run: Any) -> Version:
            parts = _parts(lane, row, (tiles, proxies), opened, run, context.run.run_id)
            made.append(parts)
            inputs.extend([parts.proxies, *parts.trained])
            evaluated = evaluate_lane(
                LaneInputs(
                    dataset=lane.dataset, images=images, tiles=tiles, proxies=parts.proxies, trained=parts.trained
                ),
                lane.lane.judging_ablation(name),
                opened,
                preset=lane.preset,
                method=row.training.method,
                seed=row.seed,
                code_version=lane.lane.baseline_version(STAGE, name),
                facts=facts_of(row, name, parts.trained, opened)
                | {"memory": {canvas: memory_use(parts.method, tiles, canvas) for canvas in row.training.canvases}},
                asset=lane.baseline(STAGE, name),
            )
            run.artifact(evaluated.path, "evaluation")
            return evaluated

        return lane.run(
            context,
            STAGE,
            name=name,
            tracker=tracker.open(),
            store=opened,
            inputs=inputs,
            parameters=parameters_of(lane, row),
            build=build,
            describe=lambda version: (
                describe_evaluation(version, row.training.method) | _without_picture(describe_method(made[-1].method))
            ),
            checks=lambda version: _checks(version, tiles, made[-1]),
        )

    return ablations


def missing_ablations(lane: LaneAssets, store: Store) -> list[str]:
    """Experiments that do not stand on the lane's current versions, by the code and the configuration of now."""
    return [name for name in lane.lane.ablations if not _stands(lane, store, name)]


def _stands(lane: LaneAssets, store: Store, name: str) -> bool:
    try:
        held = store.current(lane.baseline(STAGE, name))
        current = [store.current(lane.key(stage).to_user_string()) for stage in READ]
    except (NeverMaterialized, StoreCorrupt):
        return False
    origin = store.provenance(held.asset, held.data_version)
    return (
        origin is not None
        and all(origin.inputs.get(v.asset, v.data_version) == v.data_version for v in current)
        and origin.code_version == lane.lane.baseline_version(STAGE, name)
    )


def _parts(
    lane: LaneAssets, row: Ablation, read: tuple[Version, Version], store: Store, run: Any, dagster_run: str
) -> Parts:
    """Find or make proxies, first stage and method of an experiment, and record where they came from."""
    tiles, proxies = read
    version = f"{step_version('proxies')}-{fingerprint(row.proxies.to_json())}"
    if row.proxies.to_json() != lane.lane.proxies.to_json():
        asset = _shared(lane, "proxies")
        proxies = build_proxies(
            tiles, row.proxies, store, code_version=version, asset=asset, scheduler_address=lane.scheduler
        )
        _record(lane, row, store, proxies, [tiles], version, run, dagster_run)
    training = Training(
        asset=_shared(lane, "methods"),
        tiles=tiles,
        proxies=proxies,
        plan=row.training,
        seed=row.seed,
        code_version=step_version("baselines"),
        log=run.metrics,
    )
    trained = train_shared(training, store, _shared(lane, "stage1"))
    for number, each in enumerate(trained):
        inputs = [tiles, proxies, *trained[:number]]
        _record(lane, row, store, each, inputs, training.code_version, run, dagster_run)
    return Parts(proxies=proxies, trained=trained)


def _shared(lane: LaneAssets, what: str) -> str:
    """The store's name for what experiments share."""
    return f"{lane.dataset.name}/ablation_{what}"


def _record(
    lane: LaneAssets,
    row: Ablation,
    store: Store,
    version: Version,
    inputs: Sequence[Version],
    code_version: str,
    run: Any,
    dagster_run: str,
) -> None:
    """Remember where a part came from, for lineage and for ``clean``; one that was there keeps its first origin."""
    if store.provenance(version.asset, version.data_version) is not None:
        return
    origin = Provenance(
        inputs={each.asset: each.data_version for each in inputs},
        code_version=code_version,
        git_commit=git_commit(),
        dagster_run=dagster_run,
        mlflow_run=run.open(),
        preset=lane.preset,
        seed=row.seed,
    )
    store.record_provenance(version, origin)


def _checks(version: Version, tiles: Version, parts: Parts) -> list[dg.AssetCheckResult]:
    return [
        check_result("proxy_values", proxy_values(tiles, parts.proxies)),
        *weights_check(parts.method),
        check_result("scores_complete", scores_complete(version, tiles)),
    ]


def _without_picture(described: dict[str, Any]) -> dict[str, Any]:
    """The evaluation's own picture stays on top."""
    return {name: value for name, value in described.items() if name != "preview"}
