"""``<dataset>/download``: the raw files on disk, known by their content."""

import warnings

import dagster as dg

from assets.lane import LaneAssets
from pipeline.wiring.resources import RawResource


def download_source(lane: LaneAssets) -> dg.SourceAsset:
    """Observable source whose data version is the fingerprint of the raw folder or archive."""

    def download(raw: RawResource) -> dg.DataVersion:
        return dg.DataVersion(raw.fingerprint(lane.dataset.name))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # the decorator is beta in the locked version, and works
        declare = dg.observable_source_asset(
            key=lane.key("download"),
            group_name=lane.dataset.name,
            description=f"{lane.dataset.title}: the raw files. {lane.dataset.licence}. {lane.dataset.url}".strip(),
            metadata={"expected": lane.dataset.layout, "citation": lane.dataset.citation},
            tags={"dagster/kind/file": ""},
        )
        return declare(download)
