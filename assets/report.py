"""``evaluation_report``: one report over all data sets that have an evaluation."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.lane import OWNERS, VERSION
from assets.materialize import OFFLINE, materialize, page_check, picture
from assets.tables import tabled
from pipeline.errors import NeverMaterialized
from pipeline.evaluation.saved import load_evaluation
from pipeline.reports.evaluation.publish import publish_report
from pipeline.store.versions import Store, Version
from pipeline.wiring.automation import WHEN_CHANGED
from pipeline.wiring.commit import git_commit
from pipeline.wiring.failure import one_sentence
from pipeline.wiring.resources import ReportResource, StoreResource, TrackerResource
from pipeline.wiring.runs import REFRESH
from pipeline.wiring.tracking import Origin

CODE_VERSION = "2"


def report_asset(datasets: list[str], preset: str, seed: int) -> dg.AssetsDefinition:
    """The report; a lane without an evaluation is named as not run."""

    @dg.asset(
        key="evaluation_report",
        group_name="reports",
        owners=OWNERS,
        kinds={"plotly"},
        check_specs=[dg.AssetCheckSpec(OFFLINE, asset="evaluation_report")],
        io_manager_key="versions",
        dagster_type=VERSION,
        code_version=CODE_VERSION,
        automation_condition=WHEN_CHANGED,
        pool="evaluation_report",
        deps=[dg.AssetKey([name, stage]) for name in datasets for stage in ("evaluation", "detector")],
        description="Every data set beside the paper's numbers, controls and shortcuts: HTML, Markdown, JSON.",
    )
    def evaluation_report(
        context: dg.AssetExecutionContext, store: StoreResource, tracker: TrackerResource, reports: ReportResource
    ) -> dg.MaterializeResult:
        lanes = _existing(store.open(), datasets)
        if not lanes:
            line = "dagster asset materialize --select '*evaluation_report'"
            raise one_sentence(f"No data set has been evaluated yet; run: {line}")
        folder = Path(reports.folder) / "evaluation_report"
        provenance = {"git commit": git_commit(), "preset": preset, "seed": seed, "Dagster run": context.run.run_id}

        def build(run: Any) -> Version:
            made = publish_report(lanes, datasets, store.open(), folder, provenance, code_version=CODE_VERSION)
            run.artifact(made.path, "report")
            return made

        origin = Origin(
            dataset="reports",
            stage="evaluation_report",
            asset="evaluation_report",
            dagster_run=context.run.run_id,
            refresh=context.run.tags.get(REFRESH, ""),
            code_version=CODE_VERSION,
            preset=preset,
            seed=seed,
        )
        return materialize(
            context,
            tracker.open(),
            store.open(),
            origin,
            inputs=lanes,
            parameters={"preset": preset, "seed": seed},
            build=build,
            describe=lambda version: _describe(version, folder, lanes),
            checks=page_check,
        )

    return evaluation_report


def _existing(store: Store, datasets: list[str]) -> list[Version]:
    found = []
    for name in datasets:
        try:
            found.append(store.current(f"{name}/evaluation"))
        except NeverMaterialized:
            continue
    return found


def _describe(version: Version, folder: Path, lanes: list[Version]) -> dict[str, Any]:
    evaluations = [load_evaluation(lane.path) for lane in lanes]
    text = (version.path / "report.md").read_text()
    return {
        "report": dg.MetadataValue.path(folder / "index.html"),
        "page": dg.MetadataValue.url((folder / "index.html").as_uri()),
        "preview": picture(evaluations[0].panels[0].png, caption=evaluations[0].panels[0].caption),
        "opening": dg.MetadataValue.md(text[:6000]),
        "records": sum(len(lane.records) for lane in evaluations),
        **tabled(pd.DataFrame(json.loads((version.path / "report.json").read_text()))),
        "data sets": len(evaluations),
    }
