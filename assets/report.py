"""The reports: ``evaluation_report`` over all data sets, and the factory that makes any report an asset."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.lane import OWNERS, VERSION
from assets.materialize import OFFLINE, materialize, page_check, picture
from assets.tables import tabled
from pipeline.errors import NeverMaterialized
from pipeline.evaluation.records import Record
from pipeline.evaluation.saved import load_evaluation
from pipeline.reports.evaluation.report import ASSET, draft
from pipeline.reports.kit.publish import Draft, publish
from pipeline.store.versions import Store, Version
from pipeline.wiring.automation import WHEN_CHANGED
from pipeline.wiring.commit import git_commit
from pipeline.wiring.failure import one_sentence
from pipeline.wiring.resources import ReportResource, StoreResource, TrackerResource
from pipeline.wiring.runs import REFRESH
from pipeline.wiring.tracking import Origin

OPENING = 6000  # characters of the Markdown shown in the metadata

Gathered = tuple[Draft, Callable[[list[Record]], dict[str, Any]]]
"""A report that can be built, and what its metadata say beyond that of every report, from its records."""


def report_asset(
    name: str,
    gather: Callable[[Store], Gathered],
    *,
    code_version: str,
    deps: Sequence[dg.AssetKey],
    description: str,
    nothing: str,
    command: str,
    about: Mapping[str, Any],
    **more: Any,
) -> dg.AssetsDefinition:
    """A report built from what the store holds; without any input it fails with ``nothing`` and the ``command`` to run.

    ``about`` (preset, seed) enters provenance and MLflow.
    """

    @dg.asset(
        key=name,
        group_name="reports",
        owners=OWNERS,
        kinds={"plotly"},
        check_specs=[dg.AssetCheckSpec(OFFLINE, asset=name)],
        io_manager_key="versions",
        dagster_type=VERSION,
        code_version=code_version,
        pool=name,
        deps=deps,
        description=description,
        **more,
    )
    def report(
        context: dg.AssetExecutionContext, store: StoreResource, tracker: TrackerResource, reports: ReportResource
    ) -> dg.MaterializeResult:
        opened, folder, run_id = store.open(), Path(reports.folder) / name, context.run.run_id
        found, describe = gather(opened)
        if not found.inputs:
            raise one_sentence(f"{nothing}; run: {command}")
        provenance = {"git commit": git_commit(), **about, "Dagster run": run_id, "command": command}

        def build(run: Any) -> Version:
            made = publish(found, opened, folder, provenance, code_version=code_version)
            run.artifact(made.path, "report")
            return made

        origin = Origin(
            dataset="reports",
            stage=name,
            asset=name,
            dagster_run=run_id,
            refresh=context.run.tags.get(REFRESH, ""),
            code_version=code_version,
            preset=about["preset"],
            seed=about.get("seed", 0),
        )
        return materialize(
            context,
            tracker.open(),
            opened,
            origin,
            inputs=found.inputs,
            parameters=about,
            build=build,
            describe=lambda version: _described(version, folder, describe),
            checks=page_check,
        )

    return report


def current(store: Store, asset: str) -> Version | None:
    """The current version of an asset; None where it was never made."""
    try:
        return store.current(asset)
    except NeverMaterialized:
        return None


def _described(version: Version, folder: Path, describe: Callable[[list[Record]], dict[str, Any]]) -> dict[str, Any]:
    records = json.loads((version.path / "report.json").read_text())
    return {
        "report": dg.MetadataValue.path(folder / "index.html"),
        "page": dg.MetadataValue.url((folder / "index.html").as_uri()),
        "opening": dg.MetadataValue.md((version.path / "report.md").read_text()[:OPENING]),
        **tabled(pd.DataFrame(records)),
        **describe(records),
    }


def evaluation_report_asset(datasets: list[str], preset: str, seed: int) -> dg.AssetsDefinition:
    """The report over all data sets; one without an evaluation is named as not run."""

    def gather(store: Store) -> Gathered:
        found = [current(store, f"{name}/evaluation") for name in datasets]
        lanes = [version for version in found if version is not None]

        def describe(records: list[Record]) -> dict[str, Any]:
            panel = load_evaluation(lanes[0].path).panels[0]
            preview = picture(panel.png, caption=panel.caption)
            return {"preview": preview, "records": len(records), "data sets": len(lanes)}

        return draft(lanes, datasets), describe

    return report_asset(
        ASSET,
        gather,
        code_version="3",
        deps=[dg.AssetKey([name, stage]) for name in datasets for stage in ("evaluation", "detector")],
        description="Every data set beside the paper's numbers, controls and shortcuts: HTML, Markdown, JSON.",
        nothing="No data set has been evaluated yet",
        command="dagster asset materialize --select '*evaluation_report'",
        about={"preset": preset, "seed": seed},
        automation_condition=WHEN_CHANGED,
    )
