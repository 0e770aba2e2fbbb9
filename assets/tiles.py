"""``<dataset>/tiles`` and ``<dataset>/proxies``: 256x256 tiles in their slots, and the proxy of each."""

from typing import Any

from assets.materialize import picture
from assets.stage import Check, Task
from assets.tables import tabled
from pipeline.forms import FORMS
from pipeline.store.versions import Version
from pipeline.tiles import checks
from pipeline.tiles.checks import proxy_sheet, tile_sheet
from pipeline.tiles.loading import read_index
from pipeline.tiles.normals import build_normals, proxies_of
from pipeline.tiles.proxies import build_proxies
from pipeline.tiles.tiles import build_tiles
from pipeline.wiring.tracking import StageRun


def build_tile_arrays(task: Task, run: StageRun) -> Version:
    """Cut every image into tiles of the lane's canonical form."""
    config = task.lane.lane.tiles
    return build_tiles(
        task.inputs["images"],
        task.folder,
        task.lane.dataset,
        FORMS[config.form],
        config,
        task.store,
        code_version=task.origin.code_version,
    )


def describe_tiles(task: Task, version: Version) -> dict[str, Any]:
    """Counts, the index's columns and random tiles."""
    preview = picture(tile_sheet(version), caption="20 random tiles a slot")
    return dict(version.meta) | tabled(read_index(version)) | {"preview": preview}


def build_proxy_arrays(task: Task, run: StageRun) -> Version:
    """Compute the proxy of every tile with dask."""
    return build_proxies(
        task.inputs["tiles"],
        task.lane.lane.proxies,
        task.store,
        code_version=task.origin.code_version,
        scheduler_address=task.lane.scheduler,
    )


def describe_proxies(task: Task, version: Version) -> dict[str, Any]:
    """Counts, and tiles above their proxies."""
    tiles = task.inputs["tiles"]
    return dict(version.meta) | {
        "preview": picture(proxy_sheet(tiles, version), caption="tile above its proxy"),
        "dagster/row_count": len(read_index(tiles)),
    }


def build_normal_rows(task: Task, run: StageRun) -> Version:
    """Copy what training reads."""
    inputs = task.inputs["tiles"], task.inputs["proxies"]
    return build_normals(*inputs, task.store, code_version=task.origin.code_version)


def describe_normals(task: Task, version: Version) -> dict[str, Any]:
    """Images of each split, and tiles above their proxies."""
    preview = picture(proxy_sheet(version, proxies_of(version)), caption="tile above its proxy")
    return dict(version.meta) | tabled(read_index(version)) | {"preview": preview}


TILE_CHECKS = (
    Check("tile_coverage", lambda task, version: checks.tile_coverage(version, task.inputs["images"])),
    Check("tile_values", lambda task, version: checks.tile_values(version)),
)
NORMAL_CHECKS = (Check("normals_only", lambda task, version: checks.normal_rows(version)),)
PROXY_CHECKS = (Check("proxy_values", lambda task, version: checks.proxy_values(task.inputs["tiles"], version)),)
