"""``<dataset>/members``: the other learned methods of the committee."""

import json
from functools import partial
from typing import Any

import dagster as dg

from assets.charts import training_chart
from assets.lane import LaneAssets
from assets.materialize import picture, weights_check
from pipeline.store.versions import Version
from pipeline.training import Training, train_members
from pipeline.wiring.resources import StoreResource, TrackerResource


def members_asset(lane: LaneAssets) -> dg.AssetsDefinition:
    """All stages of the lane's other learned methods in one version."""

    @dg.asset(
        **lane.declare("members", kinds={"pytorch"}, checks=("weights_finite",)),
        ins={stage: lane.into(stage) for stage in ("tiles", "proxies")},
        description="Other learned methods: with the lane's own and the controls they make up the committee.",
    )
    def members(
        context: dg.AssetExecutionContext,
        store: StoreResource,
        tracker: TrackerResource,
        tiles: Version,
        proxies: Version,
    ) -> dg.MaterializeResult:
        def build(run: Any) -> Version:
            asset = lane.key("members").to_user_string()
            trainings = {
                name: Training(
                    asset=asset,
                    tiles=tiles,
                    proxies=proxies,
                    plan=plan,
                    seed=lane.seed,
                    code_version=lane.code_version("members"),
                    log=partial(_named, run, name),
                )
                for name, plan in lane.lane.members.items()
            }
            trained = train_members(trainings, asset, store.open())
            run.artifact(trained.path, "checkpoint")
            return trained

        return lane.run(
            context,
            "members",
            tracker=tracker.open(),
            store=store.open(),
            inputs=[tiles, proxies],
            build=build,
            describe=describe_members,
            checks=weights_check,
        )

    return members


def _named(run: Any, name: str, step: int, figures: dict[str, float]) -> None:
    run.metrics(step, {f"{name}/{key}": value for key, value in figures.items()})


def describe_members(version: Version) -> dict[str, Any]:
    """What the pages show: minutes, validation losses, model cards."""
    histories = {}
    for canvas in version.meta["canvases"]:
        for stage, history in json.loads((version.path / canvas / "history.json").read_text()).items():
            histories[f"{canvas} {stage}"] = history
    described: dict[str, Any] = {
        "members": dg.MetadataValue.json(version.meta["members"]),
        "parameters": version.meta["parameters"],
        "train_minutes": float(version.meta["train_minutes"]),
        "model_card": dg.MetadataValue.md((version.path / "model_card.md").read_text()),
    }
    return described | ({"preview": picture(training_chart(histories), caption="validation loss")} if histories else {})
