"""``<dataset>/tiles``: 256x256 tiles in their slots."""

from typing import Any

import dagster as dg

from assets.lane import LaneAssets
from assets.materialize import check_result, picture
from assets.tables import tabled
from pipeline.forms import FORMS
from pipeline.store.versions import Version
from pipeline.tiles import checks as tile_checks
from pipeline.tiles.contact_sheet import tile_sheet
from pipeline.tiles.loading import read_index
from pipeline.tiles.tiles import build_tiles
from pipeline.wiring.resources import RawResource, StoreResource, TrackerResource


def tiles_asset(lane: LaneAssets) -> dg.AssetsDefinition:
    """Tiles of one data set in the preset's canonical form."""
    config = lane.lane.tiles

    @dg.asset(
        **lane.declare("tiles", kinds={"zarr", "dask"}, checks=("tile_coverage", "tile_values")),
        ins={"images": lane.into("images")},
        description=f"256x256 uint8 tiles of {lane.dataset.title}, form `{config.form}`, with validity and masks.",
    )
    def tiles(
        context: dg.AssetExecutionContext,
        images: Version,
        raw: RawResource,
        store: StoreResource,
        tracker: TrackerResource,
    ) -> dg.MaterializeResult:
        def build(run: Any) -> Version:
            version = lane.code_version("tiles")
            folder = raw.folder(lane.raw_name)
            return build_tiles(
                images, folder, lane.dataset, FORMS[config.form], config, store.open(), code_version=version
            )

        return lane.run(
            context,
            "tiles",
            tracker=tracker.open(),
            store=store.open(),
            inputs=[images],
            build=build,
            describe=_describe,
            checks=lambda version: [
                check_result("tile_coverage", tile_checks.tile_coverage(version, images)),
                check_result("tile_values", tile_checks.tile_values(version)),
            ],
        )

    return tiles


def _describe(version: Version) -> dict[str, Any]:
    preview = picture(tile_sheet(version), caption="20 random tiles a slot")
    return dict(version.meta) | tabled(read_index(version)) | {"preview": preview}
