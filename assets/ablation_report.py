"""``ablation_report``: every experiment beside the paper's tables and figures, its claims judged, the proxies shown."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.lane import ABLATIONS, OWNERS, VERSION, LaneAssets
from assets.materialize import OFFLINE, materialize, page_check
from assets.tables import tabled
from pipeline.errors import NeverMaterialized
from pipeline.evaluation.saved import Panel
from pipeline.experiments.ablations import changes, seedless
from pipeline.reports.ablations.experiments import DataSet, Experiment
from pipeline.reports.ablations.publish import publish_ablations
from pipeline.reports.benchmark.runs import Run
from pipeline.store.versions import Store, Version
from pipeline.tiles.contact_sheet import kinds_sheet
from pipeline.wiring.commit import git_commit
from pipeline.wiring.failure import one_sentence
from pipeline.wiring.resources import ReportResource, StoreResource, TrackerResource
from pipeline.wiring.tracking import Origin

REPORT = "ablation_report"
CODE_VERSION = "3"


def ablation_report_asset(lanes: Sequence[LaneAssets], shown: Sequence[LaneAssets], preset: str) -> dg.AssetsDefinition:
    """The report of ``lanes``, with sheets of all proxies from the tiles of the lanes ``shown``."""

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
        deps=[lane.key(ABLATIONS) for lane in lanes],
        description="The paper's Tables III to V and Figs. 8, 11, 12 measured again, and each of its claims judged.",
    )
    def ablation_report(
        context: dg.AssetExecutionContext, store: StoreResource, tracker: TrackerResource, reports: ReportResource
    ) -> dg.MaterializeResult:
        opened = store.open()
        every = [experiments_of(lane, opened) for lane in lanes]
        runs = [run for data in every for row in data.rows.values() for run in row.runs]
        read = [run.version for run in runs if run.version is not None]
        if not read:
            raise one_sentence("No experiment has been made yet; run: proxyano experiments run")
        tiles = [(lane, held) for lane in shown if (held := _current(opened, lane.key("tiles").to_user_string()))]
        folder = Path(reports.folder) / REPORT
        provenance = {"git commit": git_commit(), "preset": preset, "Dagster run": context.run.run_id}
        provenance["command"] = "proxyano experiments run"

        def build(run: Any) -> Version:
            sheets = {lane.dataset.title: (held.data_version, _sheet(lane, held)) for lane, held in tiles}
            made = publish_ablations(every, sheets, opened, folder, provenance, code_version=CODE_VERSION)
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
            inputs=[*read, *(held for _, held in tiles)],
            parameters={"preset": preset},
            build=build,
            describe=lambda version: _describe(version, folder, every),
            checks=page_check,
        )

    return ablation_report


def experiments_of(lane: LaneAssets, store: Store) -> DataSet:
    """Every experiment of a lane, made or not; runs of later seeds are those of the experiment they repeat."""
    rows = lane.lane.ablations
    repeated = {name: [other for other in rows if seedless(other) == name] for name in map(seedless, rows)}
    held = {
        name: Experiment(
            runs=[
                Run(
                    dataset=lane.dataset.name,
                    title=lane.dataset.title,
                    name=each,
                    method=rows[each].training.method,
                    label=rows[each].label,
                    seed=rows[each].seed,
                    version=_current(store, lane.stored(ABLATIONS, each)),
                )
                for each in sorted(seeds, key=lambda each: rows[each].seed)
            ],
            score=rows[name].score,
            against=rows[name].against,
            change="; ".join(map(str, changes(rows[name], rows))),
            study=rows[name].study,
        )
        for name, seeds in repeated.items()
    }
    return DataSet(key=lane.dataset.name, title=lane.dataset.title, source=lane.raw_name, rows=held)


def _sheet(lane: LaneAssets, tiles: Version) -> Panel:
    return Panel(
        file=f"{lane.dataset.name}_proxies.png",
        caption=f"{lane.dataset.title}: random normal tiles beside their proxies of every kind (the paper's Fig. 8)",
        png=kinds_sheet(tiles, lane.lane.proxies),
    )


def _current(store: Store, asset: str) -> Version | None:
    try:
        return store.current(asset)
    except NeverMaterialized:
        return None


def _describe(version: Version, folder: Path, every: Sequence[DataSet]) -> dict[str, Any]:
    records = json.loads((version.path / "report.json").read_text())
    runs = [run for data in every for row in data.rows.values() for run in row.runs]
    return {
        **tabled(pd.DataFrame(records)),
        "report": dg.MetadataValue.path(folder / "index.html"),
        "page": dg.MetadataValue.url((folder / "index.html").as_uri()),
        "opening": dg.MetadataValue.md((version.path / "report.md").read_text()[:6000]),
        "runs": len(runs),
        "not run": sum(run.version is None for run in runs),
    }
