"""The data of a lane: ``download``, ``images``, ``tiles``, ``proxies`` and ``normals``."""

import json
import warnings
from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd

from assets.charts import split_chart, tabled
from assets.materialize import picture
from assets.stage import OWNERS, Check, LaneAssets, Task
from pipeline.data import checks as image_checks
from pipeline.data.manifest import build_manifest
from pipeline.forms import FORMS
from pipeline.store.versions import Version
from pipeline.tiles import checks as tile_checks
from pipeline.tiles.loading import read_index
from pipeline.tiles.normals import build_normals, proxies_of
from pipeline.tiles.proxies import build_proxies
from pipeline.tiles.tiles import build_tiles
from pipeline.wiring.resources import RawResource

if TYPE_CHECKING:
    from pipeline.wiring.tracking import StageRun


def download_source(lane: LaneAssets) -> dg.AssetsDefinition:
    """Observable source whose data version is the fingerprint of the raw folder or archive."""
    dataset = lane.dataset
    said = (f"{lane.title}: raw files", *(() if lane.drawn else (dataset.licence, dataset.url)))
    spec = dg.AssetSpec(
        lane.key("download"),
        group_name=dataset.name,
        owners=OWNERS,
        kinds={"file"},
        description=". ".join(part for part in said if part),
        metadata={"expected": dataset.layout} | ({} if lane.drawn else {"citation": dataset.citation}),
    )

    def download(raw: RawResource) -> dg.ObserveResult:
        return dg.ObserveResult(data_version=dg.DataVersion(raw.fingerprint(lane.dataset.name)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # the decorator is beta in the locked version, and works
        return dg.multi_observable_source_asset(name=f"{lane.dataset.name}_download", specs=[spec])(download)


def build_images(task: Task, run: "StageRun") -> Version:
    """Read every raw file into a manifest."""
    dataset, images, code = task.lane.dataset, task.lane.lane.images, task.origin.code_version
    source = task.raw.fingerprint(dataset.name)
    run.read_raw(task.folder.root, source)
    return build_manifest(
        task.folder,
        dataset,
        images,
        task.store,
        source_version=source,
        code_version=code,
        progress=True,
        scheduler_address=task.lane.scheduler,
    )


def _table(version: Version) -> pd.DataFrame:
    return pd.read_parquet(version.path / "images.parquet")


def _counts(version: Version) -> dict[str, Any]:
    """Images by split and class, beside the official counts."""
    counts: dict[str, Any] = json.loads((version.path / "counts.json").read_text())
    return counts


def describe_images(task: Task, version: Version) -> dict[str, Any]:
    """Counts, splits, quarantine and the manifest's columns."""
    table = _table(version)
    quarantine = pd.read_parquet(version.path / "quarantine.parquet")
    splits = table.groupby(["split", "klass"]).size().rename("images").reset_index()
    return {
        "images": len(table),
        "preview": picture(split_chart(table), caption="images by split and class"),
        "quarantined": len(quarantine),
        "splits": dg.MetadataValue.md(splits.to_markdown(index=False)),
        "quarantine": dg.MetadataValue.md(quarantine.head(20).to_markdown(index=False)),
        "counts": dg.MetadataValue.json(_counts(version)),
        **tabled(table),
    }


IMAGE_CHECKS = (
    Check(image_checks.content_once, lambda task, version: (_table(version),)),
    Check(image_checks.groups_apart, lambda task, version: (_table(version),)),
    Check(
        image_checks.near_duplicates_apart,
        lambda task, version: (_table(version), task.folder, task.lane.dataset),
    ),
    Check(image_checks.normals_only, lambda task, version: (_table(version),)),
    Check(
        image_checks.counts_within_official,
        lambda task, version: (_counts(version),),
        applies=lambda lane: lane.dataset.official,
    ),
    Check(image_checks.mask_sizes, lambda task, version: (_table(version), task.folder)),
)


def build_tile_arrays(task: Task, run: "StageRun") -> Version:
    """Cut every image into tiles of the lane's canonical form."""
    config, images, code = task.lane.lane.tiles, task.inputs["images"], task.origin.code_version
    form = FORMS[config.form]
    inputs = images, task.folder, task.lane.dataset, form, config, task.store
    return build_tiles(*inputs, code_version=code, scheduler_address=task.lane.scheduler)


def build_proxy_arrays(task: Task, run: "StageRun") -> Version:
    """Compute the proxy of every tile with dask."""
    tiles, config, code = task.inputs["tiles"], task.lane.lane.proxies, task.origin.code_version
    return build_proxies(tiles, config, task.store, code_version=code, scheduler_address=task.lane.scheduler)


def build_normal_rows(task: Task, run: "StageRun") -> Version:
    """Copy what training reads."""
    inputs = task.inputs["tiles"], task.inputs["proxies"]
    return build_normals(*inputs, task.store, code_version=task.origin.code_version)


def describe_tiles(task: Task, version: Version) -> dict[str, Any]:
    """Counts, the index's columns and random tiles."""
    preview = picture(tile_checks.tile_sheet(version), caption="20 random tiles a slot")
    return dict(version.meta) | tabled(read_index(version)) | {"preview": preview}


def describe_proxies(task: Task, version: Version) -> dict[str, Any]:
    """Counts, and tiles above their proxies."""
    tiles = task.inputs["tiles"]
    preview = picture(tile_checks.proxy_sheet(tiles, version), caption="tile above its proxy")
    return dict(version.meta) | {"preview": preview, "dagster/row_count": len(read_index(tiles))}


def describe_normals(task: Task, version: Version) -> dict[str, Any]:
    """Images of each split, and tiles above their proxies."""
    preview = picture(tile_checks.proxy_sheet(version, proxies_of(version)), caption="tile above its proxy")
    return dict(version.meta) | tabled(read_index(version)) | {"preview": preview}


TILE_CHECKS = (
    Check(tile_checks.tile_coverage, lambda task, version: (version, task.inputs["images"])),
    Check(tile_checks.tile_values, lambda task, version: (version,)),
)
PROXY_CHECKS = (Check(tile_checks.proxy_values, lambda task, version: (task.inputs["tiles"], version)),)
