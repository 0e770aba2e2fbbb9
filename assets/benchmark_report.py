"""``benchmark_report``: every method on every data set that has been run, and which have not."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.benchmark import REPORT
from assets.lane import OWNERS, VERSION, LaneAssets
from assets.materialize import OFFLINE, materialize, page_check, picture
from assets.tables import tabled
from pipeline.errors import NeverMaterialized
from pipeline.reports.benchmark.publish import publish_benchmark
from pipeline.reports.benchmark.runs import Run
from pipeline.reports.charts import score_chart
from pipeline.store.versions import Store, Version
from pipeline.wiring.commit import git_commit
from pipeline.wiring.failure import one_sentence
from pipeline.wiring.resources import ReportResource, StoreResource, TrackerResource
from pipeline.wiring.tracking import Origin

CODE_VERSION = "2"


def benchmark_report_asset(lanes: Sequence[LaneAssets], preset: str) -> dg.AssetsDefinition:
    """The report; a method that has not been run is named as such."""

    @dg.asset(
        key=REPORT,
        group_name="reports",
        owners=OWNERS,
        kinds={"plotly"},
        check_specs=[dg.AssetCheckSpec(OFFLINE, asset=REPORT)],
        io_manager_key="versions",
        dagster_type=VERSION,
        code_version=CODE_VERSION,
        pool=REPORT,
        deps=[lane.key("baseline_evaluations") for lane in lanes],
        description="All methods beside the paper's numbers (Tables I, II), controls and costs: HTML, Markdown, JSON.",
    )
    def benchmark_report(
        context: dg.AssetExecutionContext, store: StoreResource, tracker: TrackerResource, reports: ReportResource
    ) -> dg.MaterializeResult:
        opened = store.open()
        runs = [run for lane in lanes for run in runs_of(lane, opened)]
        own = {lane.dataset.name: _current(opened, lane.key("evaluation").to_user_string()) for lane in lanes}
        read = [version for version in (*(run.version for run in runs), *own.values()) if version is not None]
        if not read:
            raise one_sentence("No method has been run yet; run: proxyano benchmark")
        folder = Path(reports.folder) / REPORT
        provenance = {"git commit": git_commit(), "preset": preset, "Dagster run": context.run.run_id}
        provenance["command"] = "proxyano benchmark"

        def build(run: Any) -> Version:
            made = publish_benchmark(runs, own, opened, folder, provenance, code_version=CODE_VERSION)
            run.artifact(made.path, "report")
            return made

        origin = Origin(
            dataset="reports",
            stage=REPORT,
            asset=REPORT,
            dagster_run=context.run.run_id,
            code_version=CODE_VERSION,
            preset=preset,
            seed=0,
        )
        return materialize(
            context,
            tracker.open(),
            opened,
            origin,
            inputs=read,
            parameters={"preset": preset},
            build=build,
            describe=lambda version: _describe(version, folder, runs),
            checks=page_check,
        )

    return benchmark_report


def runs_of(lane: LaneAssets, store: Store) -> list[Run]:
    """Every run of a lane's benchmark, made or not."""
    return [
        Run(
            dataset=lane.dataset.name,
            title=lane.dataset.title,
            name=name,
            method=row.training.method,
            label=row.label,
            seed=row.seed,
            version=_current(store, lane.stored("baseline_evaluations", name)),
        )
        for name, row in lane.lane.baselines.items()
    ]


def _current(store: Store, asset: str) -> Version | None:
    try:
        return store.current(asset)
    except NeverMaterialized:
        return None


def _describe(version: Version, folder: Path, runs: Sequence[Run]) -> dict[str, Any]:
    records = json.loads((version.path / "report.json").read_text())
    shown = [r | {"method": f"{r['dataset']} {r['method']}"} for r in records if r["score"] == "standardised"]
    chart = score_chart(shown)
    return {
        "preview": picture(chart, caption="image AUROC with 95 % intervals"),
        **tabled(pd.DataFrame(records)),
        "report": dg.MetadataValue.path(folder / "index.html"),
        "page": dg.MetadataValue.url((folder / "index.html").as_uri()),
        "opening": dg.MetadataValue.md((version.path / "report.md").read_text()[:6000]),
        "runs": len(runs),
        "not run": sum(run.version is None for run in runs),
    }
