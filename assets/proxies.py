"""``<dataset>/proxies``: the superpixel image of every tile."""

from typing import Any

import dagster as dg

from assets.lane import LaneAssets
from assets.materialize import check_result, picture
from pipeline.store.versions import Version
from pipeline.tiles import checks as tile_checks
from pipeline.tiles.contact_sheet import proxy_sheet
from pipeline.tiles.loading import read_index
from pipeline.tiles.proxies import build_proxies
from pipeline.tiles.proxy_kinds import TITLES
from pipeline.wiring.resources import StoreResource, TrackerResource


def proxies_asset(lane: LaneAssets) -> dg.AssetsDefinition:
    """Proxies of one data set, computed with dask."""
    config = lane.lane.proxies
    about = ", ".join(f"{name} {value}" for name, value in config.to_json().items() if name != "kind")

    @dg.asset(
        **lane.declare("proxies", kinds={"zarr", "dask", "scikitlearn"}, checks=("proxy_values",)),
        ins={"tiles": lane.into("tiles")},
        description=f"Proxy of every tile: {TITLES[config.kind]}, {about} (III-B).",
    )
    def proxies(
        context: dg.AssetExecutionContext, tiles: Version, store: StoreResource, tracker: TrackerResource
    ) -> dg.MaterializeResult:
        def build(run: Any) -> Version:
            version = lane.code_version("proxies")
            return build_proxies(tiles, config, store.open(), code_version=version, scheduler_address=lane.scheduler)

        return lane.run(
            context,
            "proxies",
            tracker=tracker.open(),
            store=store.open(),
            inputs=[tiles],
            build=build,
            describe=lambda version: (
                dict(version.meta)
                | {
                    "preview": picture(proxy_sheet(tiles, version), caption="tile above its proxy"),
                    "dagster/row_count": len(read_index(tiles)),
                }
            ),
            checks=lambda version: [check_result("proxy_values", tile_checks.proxy_values(tiles, version))],
        )

    return proxies
