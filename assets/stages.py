"""The table of stages: what exists in every lane, in the order in which it is made."""

from functools import partial

import dagster as dg

from assets import data, evaluation, training
from assets.data import download_source
from assets.stage import ABLATIONS, BENCHMARK, LaneAssets, Stage, stage_asset

_trained = partial(Stage, kinds=("pytorch",), checks=training.CHECKS, artifact="checkpoint")

STAGES = (
    Stage(
        name="images",
        description="{lane.title}: one row an image (path, hash, class, group, split) and the quarantine.",
        kinds=("pandas", "parquet"),
        deps=("download",),
        resources=("raw",),
        build=data.build_images,
        describe=data.describe_images,
        checks=data.IMAGE_CHECKS,
    ),
    Stage(
        name="tiles",
        description="256x256 uint8 tiles of {lane.title}, form `{lane.lane.tiles.form}`, with validity and masks.",
        kinds=("zarr", "dask"),
        reads=("images",),
        resources=("raw",),
        build=data.build_tile_arrays,
        describe=data.describe_tiles,
        checks=data.TILE_CHECKS,
    ),
    Stage(
        name="proxies",
        description="Proxy of every tile: {lane.proxy} (III-B).",
        kinds=("zarr", "dask", "scikitlearn"),
        reads=("tiles",),
        build=data.build_proxy_arrays,
        describe=data.describe_proxies,
        checks=data.PROXY_CHECKS,
    ),
    Stage(
        name="normals",
        description="Tiles and proxies of training and validation normals: all that training reads. A new, changed or "
        "removed test image leaves it as it is.",
        kinds=("zarr",),
        reads=("tiles", "proxies"),
        build=data.build_normal_rows,
        describe=data.describe_normals,
    ),
    _trained(
        name="stage1",
        description="Proxy Extraction Module: image → memory → predicted proxy (Eq. 7).",
        reads=("normals",),
        build=training.build_stage,
        describe=training.describe_stage,
    ),
    _trained(
        name="stage2",
        description="Image Reconstruction Module: proxy → image, repairing pseudo-abnormal proxies (Eq. 8-11).",
        reads=("normals", "stage1"),
        build=training.build_stage,
        describe=training.describe_stage,
    ),
    _trained(
        name="members",
        description="Other learned methods: with the lane's own and the controls they make up the committee.",
        reads=("normals",),
        build=training.build_members,
        describe=training.describe_members,
    ),
    Stage(
        name="detector",
        description="The committee with all its members, the statistics of validation normals and the calibration in "
        "one folder: what the evaluation runs on test images, and `proxyano score`, `load_detector` and the served "
        "model on others.",
        kinds=("pytorch",),
        reads=("normals", "stage2", "members"),
        build=evaluation.build_detector,
        describe=evaluation.describe_detector,
    ),
    Stage(
        name="evaluation",
        description="Image and pixel scores, metrics with 95 % intervals, controls and shortcuts, pictures of cases. "
        "Registers the detector in MLflow and decides whether it becomes champion.",
        kinds=("scikitlearn", "parquet"),
        reads=evaluation.READS,
        deps=("normals",),  # so that it waits for what is trained on changed ones
        build=evaluation.build_evaluation,
        describe=evaluation.describe_evaluation,
        checks=(evaluation.SCORES, evaluation.RECONSTRUCTS),
        artifact="evaluation",
        parameters=evaluation.evaluation_parameters,
        register=evaluation.register_detector,
    ),
    Stage(
        name="robustness",
        description="Image AUROC of the detector on a sample of test images, disturbed in kinds and levels.",
        kinds=("scikitlearn", "parquet"),
        reads=("images", "detector"),
        resources=("raw",),
        build=evaluation.build_robustness,
        describe=evaluation.describe_robustness,
        by_itself=False,
    ),
    _trained(
        name="baselines",
        description="Every method of the benchmark, trained with one budget of steps on the lane's tiles.",
        reads=("normals",),
        build=training.build_baseline,
        describe=training.describe_baseline,
    ),
    Stage(
        name="baseline_evaluations",
        description="Scores, metrics and pictures of every method of the benchmark, judged like the lane's own.",
        kinds=("scikitlearn", "parquet"),
        reads=("images", "tiles", "proxies", "baselines"),
        build=evaluation.build_baseline_evaluation,
        describe=evaluation.describe_evaluation,
        checks=(evaluation.SCORES,),
        artifact="evaluation",
    ),
    Stage(
        name=ABLATIONS,
        description="Each experiment of the paper's ablations, trained with one budget of steps and scored.",
        kinds=("pytorch", "parquet"),
        reads=("images", "tiles", "proxies"),
        build=evaluation.build_ablation,
        describe=evaluation.describe_ablation,
        checks=evaluation.ABLATION_CHECKS,
        artifact="evaluation",
    ),
)
PREPARED = ("tiles", "proxies", "normals")  # stages, besides those with runs, of a lane that has the images of another

JUDGED = ("evaluation", "robustness")  # stages that need abnormal images


def lane_assets(lane: LaneAssets) -> list[dg.AssetsDefinition]:
    """Every asset of a lane: stages with runs that the preset has, an evaluation where there are abnormal images."""
    if lane.source:
        chosen = [stage for stage in STAGES if stage.name in PREPARED or lane.runs(stage.name)]
        return [stage_asset(lane, stage) for stage in chosen]
    partitioned = (*BENCHMARK, ABLATIONS)
    chosen = [stage for stage in STAGES if stage.name not in partitioned or lane.runs(stage.name)]
    chosen = [stage for stage in chosen if stage.name not in JUDGED or lane.dataset.judged]
    return [download_source(lane), *(stage_asset(lane, stage) for stage in chosen)]
