"""``<dataset>/member``: a second learned method, trained for the committee alone."""

from typing import Any

import dagster as dg

from assets.baselines import describe_method
from assets.lane import LaneAssets
from pipeline.steps.store import Version
from pipeline.steps.training import Training, train_method
from pipeline.wiring.resources import StoreResource, TrackerResource


def member_asset(lane: LaneAssets) -> dg.AssetsDefinition:
    """All stages of the lane's second method in one version."""

    @dg.asset(
        **lane.declare("member", kinds={"pytorch"}),
        ins={"tiles": lane.into("tiles"), "proxies": lane.into("proxies")},
        description="A second learned method: with the lane's own and the controls it makes up the committee.",
    )
    def member(
        context: dg.AssetExecutionContext,
        tiles: Version,
        proxies: Version,
        store: StoreResource,
        tracker: TrackerResource,
    ) -> dg.MaterializeResult:
        def build(run: Any) -> Version:
            training = Training(
                asset=lane.key("member").to_user_string(),
                tiles=tiles,
                proxies=proxies,
                plan=lane.lane.second,
                seed=lane.seed,
                code_version=lane.code_version("member"),
                log=run.metrics,
            )
            made = train_method(training, store.open())
            run.artifact(made.path, "checkpoint")
            return made

        return lane.run(
            context,
            "member",
            tracker=tracker.open(),
            store=store.open(),
            inputs=[tiles, proxies],
            build=build,
            describe=describe_method,
        )

    return member
