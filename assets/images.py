"""``<dataset>/images``: the verified manifest, one row an image."""

import json
from typing import Any

import dagster as dg
import pandas as pd

from assets.charts import split_chart
from assets.materialize import picture
from assets.stage import Check, Task
from assets.tables import tabled
from pipeline.data import checks
from pipeline.data.manifest import build_manifest
from pipeline.store.versions import Version
from pipeline.wiring.tracking import StageRun


def build_images(task: Task, run: StageRun) -> Version:
    """Read every raw file into a manifest."""
    dataset = task.lane.dataset
    source = task.raw.fingerprint(dataset.name)
    run.read_raw(task.folder.root, source)
    return build_manifest(
        task.folder,
        dataset,
        task.lane.lane.images,
        task.store,
        source_version=source,
        code_version=task.origin.code_version,
        progress=True,
    )


def _table(version: Version) -> pd.DataFrame:
    """The manifest."""
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


CHECKS = (
    Check("content_once", lambda task, version: checks.content_once(_table(version))),
    Check("groups_apart", lambda task, version: checks.groups_apart(_table(version))),
    Check(
        "near_duplicates_apart",
        lambda task, version: checks.near_duplicates_apart(_table(version), task.folder, task.lane.dataset),
    ),
    Check("normals_only", lambda task, version: checks.normals_only(_table(version))),
    Check(
        "counts_within_official",
        lambda task, version: checks.counts_within_official(_counts(version)),
        applies=lambda lane: lane.dataset.official,
    ),
    Check("mask_sizes", lambda task, version: checks.mask_sizes(_table(version), task.folder)),
)
