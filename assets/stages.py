"""``<dataset>/stage1`` and ``<dataset>/stage2``: the checkpoints of the two modules."""

import json
from typing import Any

import dagster as dg

from assets.charts import training_chart
from assets.lane import LaneAssets
from assets.materialize import picture, weights_check
from pipeline.store.versions import Version
from pipeline.training import Training, train_stage
from pipeline.wiring.resources import StoreResource, TrackerResource

DESCRIPTIONS = {
    "stage1": "Proxy Extraction Module: image → memory → predicted proxy (Eq. 7).",
    "stage2": "Image Reconstruction Module: proxy → image, repairing pseudo-abnormal proxies (Eq. 8-11).",
}


def stage1_asset(lane: LaneAssets) -> dg.AssetsDefinition:
    """Stage 1 of the lane's method."""

    @dg.asset(
        **lane.declare("stage1", kinds={"pytorch"}, checks=("weights_finite",)),
        ins={"tiles": lane.into("tiles"), "proxies": lane.into("proxies")},
        description=DESCRIPTIONS["stage1"],
    )
    def stage1(
        context: dg.AssetExecutionContext,
        tiles: Version,
        proxies: Version,
        store: StoreResource,
        tracker: TrackerResource,
    ) -> dg.MaterializeResult:
        return _train(lane, context, "stage1", (tiles, proxies, None), store, tracker)

    return stage1


def stage2_asset(lane: LaneAssets) -> dg.AssetsDefinition:
    """Stage 2, on top of a frozen stage 1."""

    @dg.asset(
        **lane.declare("stage2", kinds={"pytorch"}, checks=("weights_finite",)),
        ins={"tiles": lane.into("tiles"), "proxies": lane.into("proxies"), "stage1": lane.into("stage1")},
        description=DESCRIPTIONS["stage2"],
    )
    def stage2(
        context: dg.AssetExecutionContext,
        tiles: Version,
        proxies: Version,
        stage1: Version,
        store: StoreResource,
        tracker: TrackerResource,
    ) -> dg.MaterializeResult:
        return _train(lane, context, "stage2", (tiles, proxies, stage1), store, tracker)

    return stage2


def _train(
    lane: LaneAssets,
    context: dg.AssetExecutionContext,
    stage: str,
    inputs: tuple[Version, Version, Version | None],
    store: StoreResource,
    tracker: TrackerResource,
) -> dg.MaterializeResult:
    def build(run: Any) -> Version:
        tiles, proxies, previous = inputs
        training = Training(
            asset=lane.key(stage).to_user_string(),
            tiles=tiles,
            proxies=proxies,
            plan=lane.lane.training,
            seed=lane.seed,
            code_version=lane.code_version(stage),
            log=run.metrics,
        )
        made = train_stage(stage, previous, training, store.open())
        run.artifact(made.path, "checkpoint")
        return made

    return lane.run(
        context,
        stage,
        tracker=tracker.open(),
        store=store.open(),
        inputs=[version for version in inputs if version is not None],
        build=build,
        describe=_describe,
        checks=weights_check,
    )


def _describe(version: Version) -> dict[str, Any]:
    histories = {
        canvas: json.loads((version.path / canvas / "history.json").read_text()) for canvas in version.meta["canvases"]
    }
    described: dict[str, Any] = {"preview": picture(training_chart(histories), caption="validation loss")}
    for canvas, history in histories.items():
        described[f"{canvas}_validation"] = float(min(entry["validation"] for entry in history))
        described[f"{canvas}_steps"] = int(history[-1]["step"])
    card = (version.path / "model_card.md").read_text()
    return described | {"seed": version.meta["seed"], "model_card": dg.MetadataValue.md(card)}
