"""The reports over the store's results, and the factory that makes any report an asset."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.charts import score_chart, tabled
from assets.materialize import check_result, materialize, picture
from assets.stage import ABLATIONS, OWNERS, VERSION, LaneAssets
from pipeline.errors import NeverMaterialized, StoreCorrupt
from pipeline.evaluation.checks import page_opens_offline
from pipeline.evaluation.records import Record
from pipeline.evaluation.saved import Panel, load_evaluation
from pipeline.evaluation.score_name import PRIMARY
from pipeline.experiments.ablations import changes, seedless
from pipeline.reports.ablations import report as ablation_report
from pipeline.reports.ablations.experiments import DataSet, Experiment
from pipeline.reports.benchmark import report as benchmark_report
from pipeline.reports.evaluation import report as evaluation_report
from pipeline.reports.kit.publish import WRITTEN, Draft, publish, source_version
from pipeline.reports.kit.runs import Run
from pipeline.store.versions import Store, Version
from pipeline.tiles.checks import kinds_sheet
from pipeline.wiring.automation import WHEN_CHANGED
from pipeline.wiring.origin import Origin
from pipeline.wiring.resources import ReportResource, StoreResource, TrackerResource
from pipeline.wiring.runs import REFRESH, git_commit, one_sentence

OPENING = 6000  # characters of the Markdown shown in the metadata
OFFLINE = "page_opens_offline"

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
    about: Mapping[str, Any],  # preset and seed, for provenance and MLflow
    **more: Any,
) -> dg.AssetsDefinition:
    """A report built from what the store holds; without any it fails with ``nothing`` and the ``command`` to run."""

    @dg.asset(
        key=name,
        group_name="reports",
        owners=OWNERS,
        kinds={"plotly"},
        check_specs=[dg.AssetCheckSpec(OFFLINE, asset=name, description=page_opens_offline.__doc__)],
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
        written = datetime.now(UTC).date().isoformat()
        provenance = {WRITTEN: written, "git commit": git_commit(), **about, "Dagster run": run_id, "command": command}

        def described(version: Version) -> dict[str, Any]:
            records = json.loads((version.path / "report.json").read_text())
            return {
                "report": dg.MetadataValue.path(folder / "index.html"),
                "opening": dg.MetadataValue.md((version.path / "report.md").read_text()[:OPENING]),
                **tabled(pd.DataFrame(records)),
                **describe(records),
            }

        def linked(version: Version, run_id: str) -> dict[str, Any]:
            """The page in MLflow, for browsers open no file from a page of a server."""
            return {"page": dg.MetadataValue.url(tracker.open().url(origin.dataset, run_id, "report/index.html"))}

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
            build=lambda run: publish(found, opened, folder, provenance, code_version=code_version),
            artifact="report",
            describe=described,
            register=linked,
            checks=lambda version: [check_result(OFFLINE, page_opens_offline(version.path / "index.html"))],
        )

    return report


def current(store: Store, asset: str) -> Version | None:
    """The current version of an asset; None where it was never made, and one sentence where it is damaged."""
    try:
        return store.current(asset)
    except NeverMaterialized:
        return None
    except StoreCorrupt as error:
        raise one_sentence(str(error)) from None


def evaluation_report_asset(datasets: list[str], preset: str, seed: int) -> dg.AssetsDefinition:
    """The report over all data sets; one without an evaluation is named as not run."""

    def gather(store: Store) -> Gathered:
        found = [current(store, f"{name}/evaluation") for name in datasets]
        lanes = [version for version in found if version is not None]

        def describe(records: list[Record]) -> dict[str, Any]:
            panel = load_evaluation(lanes[0].path).panels[0]
            preview = picture(panel.png, caption=panel.caption)
            return {"preview": preview, "records": len(records), "data sets": len(lanes)}

        return evaluation_report.draft(lanes, datasets), describe

    return report_asset(
        evaluation_report.ASSET,
        gather,
        code_version=source_version(6),
        deps=[dg.AssetKey([name, stage]) for name in datasets for stage in ("evaluation", "detector")],
        description="Every data set beside the paper's numbers, controls and shortcuts: HTML, Markdown, JSON.",
        nothing="No data set has been evaluated yet",
        command="dagster asset materialize --select '*evaluation_report'",
        about={"preset": preset, "seed": seed},
        automation_condition=WHEN_CHANGED,
    )


def benchmark_report_asset(lanes: Sequence[LaneAssets], preset: str) -> dg.AssetsDefinition:
    """The report; a method that has not been run is named as such."""

    def gather(store: Store) -> Gathered:
        runs = [run_of(lane, "baseline_evaluations", name, store) for lane in lanes for name in lane.lane.baselines]
        own = {lane.dataset.name: current(store, lane.key("evaluation").to_user_string()) for lane in lanes}

        def describe(records: list[Record]) -> dict[str, Any]:
            chart = score_chart([record for record in records if record["score"] == PRIMARY])
            return _run_counts(runs) | {"preview": picture(chart, caption="image AUROC with 95 % intervals")}

        return benchmark_report.draft(runs, own), describe

    return report_asset(
        benchmark_report.ASSET,
        gather,
        code_version=source_version(5),
        deps=[lane.key("baseline_evaluations") for lane in lanes],
        description="All methods beside the paper's numbers (Tables I, II), controls and costs: HTML, Markdown, JSON.",
        nothing="No method has been run yet",
        command="proxyano benchmark",
        about={"preset": preset},
    )


def run_of(lane: LaneAssets, stage: str, name: str, store: Store) -> Run:
    """One run of the benchmark or the ablations, with its evaluation if there is one."""
    row = lane.runs(stage)[name]
    return Run(
        dataset=lane.dataset.name,
        title=lane.dataset.title,
        name=name,
        method=row.training.method,
        label=row.label,
        seed=row.seed,
        version=current(store, lane.stored(stage, name)),
        raw=lane.lane.tiles.form == "plain",
    )


def _run_counts(runs: Sequence[Run]) -> dict[str, Any]:
    return {"runs": len(runs), "not run": sum(run.version is None for run in runs)}


def ablation_report_asset(lanes: Sequence[LaneAssets], shown: Sequence[LaneAssets], preset: str) -> dg.AssetsDefinition:
    """The report of ``lanes``, with sheets of all proxies from the tiles of the lanes ``shown``."""

    def gather(store: Store) -> Gathered:
        every = [experiments_of(lane, store) for lane in lanes]
        runs = [run for data in every for row in data.rows.values() for run in row.runs]
        held = [(lane, current(store, lane.key("tiles").to_user_string())) for lane in shown]
        tiles = [(lane, version) for lane, version in held if version is not None]
        titled = {lane.dataset.title: version for lane, version in tiles}
        drafted = ablation_report.draft(every, titled, lambda: [_proxies(*each) for each in tiles])
        return drafted, lambda records: _run_counts(runs)

    return report_asset(
        ablation_report.ASSET,
        gather,
        code_version=source_version(7),
        deps=[lane.key(ABLATIONS) for lane in lanes],
        description="The paper's Tables III to V and Figs. 8, 11, 12 measured again, and each of its claims judged.",
        nothing="No experiment has been run yet",
        command="proxyano experiments run",
        about={"preset": preset},
    )


def experiments_of(lane: LaneAssets, store: Store) -> DataSet:
    """Every experiment of a lane, run or not; runs of later seeds belong to the experiment that they repeat."""
    rows = lane.lane.ablations
    seeds: dict[str, list[str]] = {}
    for name in sorted(rows, key=lambda name: rows[name].seed):
        seeds.setdefault(seedless(name), []).append(name)
    experiments = {
        name: Experiment(
            label=rows[name].label,
            runs=[run_of(lane, ABLATIONS, each, store) for each in seeds[name]],
            score=rows[name].score,
            against=rows[name].against,
            change="; ".join(map(str, changes(rows[name], rows))),
        )
        for name in dict.fromkeys(map(seedless, rows))
    }
    return DataSet(key=lane.dataset.name, title=lane.dataset.title, source=lane.raw_name, rows=experiments)


def _proxies(lane: LaneAssets, tiles: Version) -> Panel:
    return Panel(
        file=f"{lane.dataset.name}_proxies.png",
        caption=f"{lane.dataset.title}: random normal tiles beside their proxies of every kind (the paper's Fig. 8)",
        png=kinds_sheet(tiles, lane.lane.proxies),
    )
