"""Composition root: the lanes of every data set, the reports, resources and jobs, as one Definitions."""

import gc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dagster as dg

from assets.ablation_report import ablation_report_asset
from assets.ablations import ablations_asset
from assets.baselines import baseline_evaluations_asset, baselines_asset
from assets.benchmark import benchmark_job
from assets.benchmark_report import benchmark_report_asset
from assets.detector import detector_asset
from assets.download import download_source
from assets.evaluation import evaluation_asset
from assets.images import images_asset
from assets.lane import LaneAssets
from assets.members import members_asset
from assets.proxies import proxies_asset
from assets.report import evaluation_report_asset
from assets.stages import stage1_asset, stage2_asset
from assets.tiles import tiles_asset
from pipeline.data.datasets import DATASETS
from pipeline.data.user_datasets.dataset import Own, own_datasets
from pipeline.errors import ConfigError
from pipeline.experiments.lane import Lane, Preset
from pipeline.experiments.lanes.user_dataset import user_lane
from pipeline.experiments.options import in_colour, with_split
from pipeline.experiments.presets import PRESETS
from pipeline.wiring.automation import SENSORS
from pipeline.wiring.jobs import jobs
from pipeline.wiring.resources import resources
from pipeline.wiring.settings import Settings

BENCHMARK = (baselines_asset, baseline_evaluations_asset)
FORM_OFF = (tiles_asset, proxies_asset, *BENCHMARK)
STAGES = (
    download_source,
    images_asset,
    tiles_asset,
    proxies_asset,
    stage1_asset,
    stage2_asset,
    members_asset,
    evaluation_asset,
    detector_asset,
    *BENCHMARK,
)


def lanes_of(settings: Settings) -> list[LaneAssets]:
    """The lanes of the preset in force, those of the user's own data sets last.

    Raises ``ConfigError`` for a preset that does not exist and for a description that does not do.
    """
    if settings.preset_name not in PRESETS:
        raise ConfigError(f"PROXYANO_PRESET: expected one of {sorted(PRESETS)}, got {settings.preset_name!r}")
    preset = PRESETS[settings.preset_name]
    rows = [(dataset, preset.lanes[name], "") for name, dataset in DATASETS.items()]
    for name, lane in preset.form_off.items():
        dataset = replace(DATASETS[name], name=f"{name}_plain", title=f"{DATASETS[name].title}, canonical form off")
        rows.append((dataset, lane, name))
    rows = [(dataset, _chosen(lane, settings), source) for dataset, lane, source in rows]
    rows += [(one.row, _own(one, preset, settings), "") for one in own_datasets(settings.datasets)]
    return [
        LaneAssets(
            dataset=dataset,
            lane=lane,
            preset=preset.name,
            seed=settings.seed,
            scheduler=settings.scheduler,
            source=source,
        )
        for dataset, lane, source in rows
    ]


def build(settings: Settings) -> dg.Definitions:
    """Everything Dagster needs; a lane without images of its own has the stages of the benchmark alone."""
    lanes = lanes_of(settings)
    names = [lane.dataset.name for lane in lanes if not lane.source]
    compared = [lane for lane in lanes if lane.lane.baselines]
    return dg.Definitions(
        assets=[
            *(stage(lane) for lane in lanes for stage in _stages(lane)),
            evaluation_report_asset(names, settings.preset_name, settings.seed),
            benchmark_report_asset(compared, settings.preset_name),
            ablation_report_asset(
                [lane for lane in lanes if lane.lane.ablations],
                [lane for lane in compared if not lane.source],
                settings.preset_name,
            ),
        ],
        resources=resources(settings, own_datasets(settings.datasets)),
        jobs=[*jobs(names), benchmark_job(compared, settings.home / "benchmark")],
        sensors=SENSORS,
        executor=dg.in_process_executor,
    )


def _stages(lane: LaneAssets) -> Sequence[Any]:
    """What a lane is made of: one with the images of another has the benchmark alone, one of the user's has none."""
    stages = [stage for stage in (FORM_OFF if lane.source else STAGES) if lane.lane.baselines or stage not in BENCHMARK]
    return [*stages, ablations_asset] if lane.lane.ablations else stages


def _own(own: Own, preset: Preset, settings: Settings) -> Lane:
    """The lane of a data set of the user's own; its split never leaks, whatever the protocol."""
    about = own.description
    lane = user_lane(preset.user_datasets, about.form, size=about.training.size, steps=about.training.steps)
    lane = with_split(lane, "leak_free", settings.split_seed)
    return in_colour(lane) if settings.rgb else lane


def _chosen(lane: Lane, settings: Settings) -> Lane:
    """The preset's lane with the user's options."""
    lane = with_split(lane, settings.protocol, settings.split_seed)
    return in_colour(lane) if settings.rgb else lane


LANES = lanes_of(Settings())
defs = build(Settings())
gc.freeze()  # what imports made stays to the end; collecting it at exit takes a second
