"""``<dataset>/download``: the raw files on disk, known by their content."""

import warnings

import dagster as dg

from assets.lane import OWNERS, LaneAssets
from pipeline.wiring.resources import RawResource


def download_source(lane: LaneAssets) -> dg.AssetsDefinition:
    """Observable source whose data version is the fingerprint of the raw folder or archive."""

    said = (f"{lane.dataset.title}: raw files", lane.dataset.licence, lane.dataset.url)
    spec = dg.AssetSpec(
        lane.key("download"),
        group_name=lane.dataset.name,
        owners=OWNERS,
        kinds={"file"},
        description=". ".join(part for part in said if part),
        metadata={"expected": lane.dataset.layout, "citation": lane.dataset.citation},
    )

    def download(raw: RawResource) -> dg.ObserveResult:
        return dg.ObserveResult(data_version=dg.DataVersion(raw.fingerprint(lane.dataset.name)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # the decorator is beta in the locked version, and works
        declare = dg.multi_observable_source_asset(name=f"{lane.dataset.name}_download", specs=[spec])
        return declare(download)
