"""``benchmark_report``: every method on every data set that has been run, and which have not."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.charts import score_chart
from assets.lane import LaneAssets
from assets.materialize import picture
from assets.report import Gathered, current, report_asset
from pipeline.evaluation.records import Record
from pipeline.evaluation.score_name import PRIMARY
from pipeline.reports.benchmark.report import ASSET, draft
from pipeline.reports.kit.runs import Run
from pipeline.store.versions import Store


def benchmark_report_asset(lanes: Sequence[LaneAssets], preset: str) -> dg.AssetsDefinition:
    """The report; a method that has not been run is named as such."""

    def gather(store: Store) -> Gathered:
        runs = [
            run_of(lane, "baseline_evaluations", name, row, store)
            for lane in lanes
            for name, row in lane.lane.baselines.items()
        ]
        own = {lane.dataset.name: current(store, lane.key("evaluation").to_user_string()) for lane in lanes}

        def describe(records: list[Record]) -> dict[str, Any]:
            chart = score_chart([record for record in records if record["score"] == PRIMARY])
            counts = {"runs": len(runs), "not run": sum(run.version is None for run in runs)}
            return counts | {"preview": picture(chart, caption="image AUROC with 95 % intervals")}

        return draft(runs, own), describe

    return report_asset(
        ASSET,
        gather,
        code_version="3",
        deps=[lane.key("baseline_evaluations") for lane in lanes],
        description="All methods beside the paper's numbers (Tables I, II), controls and costs: HTML, Markdown, JSON.",
        nothing="No method has been run yet",
        command="proxyano benchmark",
        about={"preset": preset},
    )


def run_of(lane: LaneAssets, stage: str, name: str, row: Any, store: Store) -> Run:
    """One run of the benchmark or the ablations, with its evaluation if there is one."""
    return Run(
        dataset=lane.dataset.name,
        title=lane.dataset.title,
        name=name,
        method=row.training.method,
        label=row.label,
        seed=row.seed,
        version=current(store, lane.stored(stage, name)),
    )
