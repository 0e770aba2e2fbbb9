"""``ablation_report``: every experiment with the paper's tables, figures and claims, and all proxies."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.benchmark_report import run_of
from assets.lane import ABLATIONS, LaneAssets
from assets.report import Gathered, current, report_asset
from pipeline.evaluation.records import Record
from pipeline.evaluation.saved import Panel
from pipeline.experiments.ablations import changes, seedless
from pipeline.reports.ablations.experiments import DataSet, Experiment
from pipeline.reports.ablations.report import ASSET, draft
from pipeline.store.versions import Store, Version
from pipeline.tiles.checks import kinds_sheet

REPORT = ASSET


def ablation_report_asset(lanes: Sequence[LaneAssets], shown: Sequence[LaneAssets], preset: str) -> dg.AssetsDefinition:
    """The report of ``lanes``, with sheets of all proxies from the tiles of the lanes ``shown``."""

    def gather(store: Store) -> Gathered:
        every = [experiments_of(lane, store) for lane in lanes]
        runs = [run for data in every for row in data.rows.values() for run in row.runs]
        held = [(lane, current(store, lane.key("tiles").to_user_string())) for lane in shown]
        tiles = [(lane, version) for lane, version in held if version is not None]

        def describe(records: list[Record]) -> dict[str, Any]:
            return {"runs": len(runs), "not run": sum(run.version is None for run in runs)}

        drafted = draft(
            every,
            {lane.dataset.title: version for lane, version in tiles},
            lambda: [_proxies(lane, version) for lane, version in tiles],
        )
        return drafted, describe

    return report_asset(
        ASSET,
        gather,
        code_version="4",
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
            runs=[run_of(lane, ABLATIONS, each, rows[each], store) for each in seeds[name]],
            score=rows[name].score,
            against=rows[name].against,
            change="; ".join(map(str, changes(rows[name], rows))),
            study=rows[name].study,
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
