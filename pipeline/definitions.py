"""Composition root: the lanes of every data set, the reports, resources and jobs, as one Definitions."""

import gc
from dataclasses import replace
from typing import Literal

import dagster as dg

from assets.benchmark import benchmark_job
from assets.report import ablation_report_asset, benchmark_report_asset, evaluation_report_asset
from assets.stage import LaneAssets
from assets.stages import lane_assets
from pipeline.data.datasets import DATASETS, Dataset
from pipeline.data.user_datasets.dataset import own_datasets
from pipeline.errors import ConfigError
from pipeline.experiments.lane import Lane, in_colour, with_pretrained, with_split
from pipeline.experiments.lanes.user_dataset import user_lane
from pipeline.experiments.presets import PRESETS
from pipeline.processes import Processes
from pipeline.wiring.automation import SENSORS, jobs
from pipeline.wiring.executors import executor
from pipeline.wiring.resources import resources
from pipeline.wiring.settings import Settings

Protocol = Literal["leak_free", "paper_random"]


def lanes_of(settings: Settings) -> list[LaneAssets]:
    """The lanes of the current preset: built-in data sets, those with the form off, the user's own data sets.

    Raises ``ConfigError`` for an unknown preset or an invalid data-set description.
    """
    if settings.preset_name not in PRESETS:
        raise ConfigError(f"PROXYANO_PRESET: expected one of {sorted(PRESETS)}, got {settings.preset_name!r}")
    preset = PRESETS[settings.preset_name]

    def assets(dataset: Dataset, lane: Lane, protocol: Protocol, *, source: str = "", own: bool = False) -> LaneAssets:
        lane = with_split(lane, protocol, settings.split_seed)
        lane = with_pretrained(lane) if settings.pretrained else lane
        return LaneAssets(
            dataset=dataset,
            lane=in_colour(lane) if settings.rgb else lane,
            preset=settings.own_preset_name if own else settings.preset_name,
            seed=settings.seed,
            scheduler=settings.scheduler,
            processes=Processes(devices=settings.devices, memory=settings.memory, launcher=settings.launcher),
            source=source,
            drawn=settings.raw is None and not own,
        )

    lanes = [assets(dataset, preset.lanes[name], settings.protocol) for name, dataset in DATASETS.items()]
    for name, lane in preset.form_off.items():
        title = f"{DATASETS[name].title}, canonical form off"
        dataset = replace(DATASETS[name], name=f"{name}_plain", title=title)
        lanes.append(assets(dataset, lane, settings.protocol, source=name))
    of_own = PRESETS[settings.own_preset_name].user_datasets
    for own in own_datasets(settings.datasets):
        about = own.description
        lane = user_lane(of_own, about.form, size=about.training.size, steps=about.training.steps)
        lanes.append(assets(own.row, lane, "leak_free", own=True))  # its split never leaks, whatever the protocol
    return lanes


def build(settings: Settings) -> dg.Definitions:
    """Everything Dagster needs."""
    lanes = lanes_of(settings)
    names = [lane.dataset.name for lane in lanes if not lane.source and lane.dataset.judged]
    compared = [lane for lane in lanes if lane.lane.baselines]
    return dg.Definitions(
        assets=[
            *(asset for lane in lanes for asset in lane_assets(lane)),
            evaluation_report_asset(names, settings.preset_name, settings.seed),
            benchmark_report_asset(compared, settings.preset_name),
            ablation_report_asset(
                [lane for lane in lanes if lane.lane.ablations],
                [lane for lane in compared if not lane.source],
                settings.preset_name,
            ),
        ],
        resources=resources(settings, own_datasets(settings.datasets)),
        jobs=[*jobs(names), benchmark_job],
        sensors=SENSORS,
        executor=executor(settings.executor),
    )


LANES = lanes_of(Settings())
defs = build(Settings())
gc.freeze()  # what imports create stays until the end; collecting it at exit would take a second
