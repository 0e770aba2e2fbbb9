"""Composition root: the lanes of every data set, the report, resources and jobs, as one Definitions."""

import dagster as dg

from assets.download import download_source
from assets.evaluation import evaluation_asset
from assets.images import images_asset
from assets.lane import LaneAssets
from assets.proxies import proxies_asset
from assets.report import report_asset
from assets.stages import stage1_asset, stage2_asset
from assets.tiles import tiles_asset
from pipeline.experiments.options import in_colour, with_split
from pipeline.experiments.preset import Lane
from pipeline.experiments.presets import PRESETS
from pipeline.steps.datasets import DATASETS
from pipeline.steps.errors import ConfigError
from pipeline.wiring.automation import SENSORS
from pipeline.wiring.jobs import jobs
from pipeline.wiring.resources import resources
from pipeline.wiring.settings import Settings

STAGES = (download_source, images_asset, tiles_asset, proxies_asset, stage1_asset, stage2_asset, evaluation_asset)


def build(settings: Settings) -> dg.Definitions:
    """Everything Dagster needs, for the preset in force; raises ``ConfigError`` for a preset that does not exist."""
    if settings.preset_name not in PRESETS:
        raise ConfigError(f"PROXYANO_PRESET: expected one of {sorted(PRESETS)}, got {settings.preset_name!r}")
    preset = PRESETS[settings.preset_name]
    lanes = [
        LaneAssets(
            dataset=dataset,
            lane=_chosen(preset.lanes[name], settings),
            preset=preset.name,
            seed=settings.seed,
            scheduler=settings.scheduler,
        )
        for name, dataset in DATASETS.items()
    ]
    names = list(DATASETS)
    return dg.Definitions(
        assets=[*(stage(lane) for lane in lanes for stage in STAGES), report_asset(names, preset.name, settings.seed)],
        resources=resources(settings),
        jobs=jobs(names),
        sensors=SENSORS,
        executor=dg.in_process_executor,
    )


def _chosen(lane: Lane, settings: Settings) -> Lane:
    """The preset's lane with the user's options."""
    lane = with_split(lane, settings.protocol, settings.split_seed)
    return in_colour(lane) if settings.rgb else lane


defs = build(Settings())
