"""``<dataset>/images``: the verified manifest, one row an image."""

import json
from typing import Any

import dagster as dg
import pandas as pd

from assets.charts import split_chart
from assets.lane import LaneAssets
from assets.materialize import check_result, picture
from assets.tables import tabled
from pipeline.data import manifest_checks as checks
from pipeline.data.manifest import build_manifest
from pipeline.data.raw import RawFolder
from pipeline.store.versions import Version
from pipeline.wiring.resources import RawResource, StoreResource, TrackerResource

CHECKS = (
    "content_once",
    "groups_apart",
    "near_duplicates_apart",
    "normals_only",
    "counts_within_official",
    "mask_sizes",
)


def checks_of(lane: LaneAssets) -> list[str]:
    """The checks that can fail: where there is no official set, nothing is counted beside one."""
    return [name for name in CHECKS if name != "counts_within_official" or lane.dataset.official]


def images_asset(lane: LaneAssets) -> dg.AssetsDefinition:
    """Manifest of one data set, with the checks on its splits."""
    dataset = lane.dataset

    @dg.asset(
        **lane.declare("images", kinds={"pandas", "parquet"}, checks=checks_of(lane)),
        deps=[lane.key("download")],
        description=f"{dataset.title}: one row an image (path, hash, class, group, split) and the quarantine.",
    )
    def images(
        context: dg.AssetExecutionContext, raw: RawResource, store: StoreResource, tracker: TrackerResource
    ) -> dg.MaterializeResult:
        folder = raw.folder(dataset.name)

        def build(run: Any) -> Version:
            source = raw.fingerprint(dataset.name)
            run.read_raw(folder.root, source)
            return build_manifest(
                folder,
                dataset,
                lane.lane.images,
                store.open(),
                source_version=source,
                code_version=lane.code_version("images"),
                progress=True,
            )

        return lane.run(
            context,
            "images",
            tracker=tracker.open(),
            store=store.open(),
            inputs=[],
            build=build,
            describe=_describe,
            checks=lambda version: _checks(version, folder, lane),
        )

    return images


def _describe(version: Version) -> dict[str, Any]:
    table = pd.read_parquet(version.path / "images.parquet")
    quarantine = pd.read_parquet(version.path / "quarantine.parquet")
    splits = table.groupby(["split", "klass"]).size().rename("images").reset_index()
    return {
        "images": len(table),
        "preview": picture(split_chart(table), caption="images by split and class"),
        "quarantined": len(quarantine),
        "splits": dg.MetadataValue.md(splits.to_markdown(index=False)),
        "quarantine": dg.MetadataValue.md(quarantine.head(20).to_markdown(index=False)),
        "counts": dg.MetadataValue.json(json.loads((version.path / "counts.json").read_text())),
        **tabled(table),
    }


def _checks(version: Version, folder: RawFolder, lane: LaneAssets) -> list[dg.AssetCheckResult]:
    table = pd.read_parquet(version.path / "images.parquet")
    counts = json.loads((version.path / "counts.json").read_text())
    outcomes = {
        "content_once": checks.content_once(table),
        "groups_apart": checks.groups_apart(table),
        "near_duplicates_apart": checks.near_duplicates_apart(table, folder, lane.dataset),
        "normals_only": checks.normals_only(table),
        "counts_within_official": checks.counts_within_official(counts),
        "mask_sizes": checks.mask_sizes(table, folder),
    }
    return [check_result(name, outcomes[name]) for name in checks_of(lane)]
