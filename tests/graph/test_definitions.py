"""The asset graph as a snapshot: three lanes by one factory, the report, and versions that change where they should."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from assets.lane import LaneAssets
from pipeline.definitions import build
from pipeline.experiments.preset import STEP_VERSIONS, Lane
from pipeline.experiments.presets import PRESETS
from pipeline.steps.canonical import FORMS
from pipeline.steps.datasets import DATASETS
from pipeline.steps.errors import ConfigError
from pipeline.wiring.settings import Settings

STAGES = {
    "download": (),
    "images": ("download",),
    "tiles": ("images",),
    "proxies": ("tiles",),
    "stage1": ("tiles", "proxies"),
    "stage2": ("tiles", "proxies", "stage1"),
    "evaluation": ("images", "tiles", "proxies", "stage1", "stage2"),
}
"""Stage of a lane → what it is made of."""
KINDS = {
    "download": {"file"},
    "images": {"pandas", "parquet"},
    "tiles": {"zarr", "dask"},
    "proxies": {"zarr", "dask", "scikitlearn"},
    "stage1": {"pytorch"},
    "stage2": {"pytorch"},
    "evaluation": {"scikitlearn", "parquet"},
}
CHECKS = {
    "images": {
        "content_once",
        "groups_apart",
        "near_duplicates_apart",
        "normals_only",
        "counts_within_official",
        "mask_sizes",
    },
    "tiles": {"tile_coverage", "tile_values"},
    "proxies": {"proxy_values"},
}
REPORT = dg.AssetKey("evaluation_report")


@pytest.fixture
def settings(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("PROXYANO_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PROXYANO_HOME", str(tmp_path))
    return Settings


@pytest.fixture(params=sorted(PRESETS))
def graph(request, settings, monkeypatch):
    """Asset graph of every preset: none of them changes its shape."""
    monkeypatch.setenv("PROXYANO_PRESET", request.param)
    return build(settings()).resolve_asset_graph()


def test_three_lanes_and_one_report(graph):
    assert set(DATASETS) == {"brain_mri", "oct", "idrid"}
    expected = {
        dg.AssetKey([name, stage]): {dg.AssetKey([name, other]) for other in above}
        for name in DATASETS
        for stage, above in STAGES.items()
    }
    expected[REPORT] = {dg.AssetKey([name, "evaluation"]) for name in DATASETS}
    assert {node.key: set(node.parent_keys) for node in graph.asset_nodes} == expected


def test_groups_kinds_owners_and_descriptions(graph):
    for node in graph.asset_nodes:
        report = node.key == REPORT
        assert node.group_name == ("reports" if report else node.key.path[0])
        assert node.kinds == ({"plotly"} if report else KINDS[node.key.path[1]])
        assert node.description
        if node.is_materializable:
            assert node.owners == ["team:proxyano"]
            assert node.code_version
            assert not node.is_partitioned
    observed = {node.key.path[-1] for node in graph.asset_nodes if not node.is_materializable}
    assert observed == {"download"}


def test_checks_stand_on_their_stages(graph):
    found: dict[dg.AssetKey, set[str]] = {}
    for check in graph.asset_check_keys:
        found.setdefault(check.asset_key, set()).add(check.name)
    assert found == {dg.AssetKey([name, stage]): names for name in DATASETS for stage, names in CHECKS.items()}


def test_jobs_are_named_for_what_people_do(settings):
    definitions = build(settings())
    selected = {
        job: {key.to_user_string() for key in definitions.resolve_job_def(job).asset_layer.executable_asset_keys}
        for job in ("prepare", "train", "evaluate")
    }
    lanes = {
        "prepare": ("images", "tiles", "proxies"),
        "train": ("stage1", "stage2"),
        "evaluate": ("evaluation",),
    }
    expected = {job: {f"{name}/{stage}" for name in DATASETS for stage in stages} for job, stages in lanes.items()}
    expected["evaluate"].add("evaluation_report")
    assert selected == expected
    names = {job.name for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")}
    assert names == {"prepare", "train", "evaluate"}
    assert all(definitions.resolve_job_def(job).description for job in selected)


def test_definitions_are_loadable_and_write_nothing(settings, tmp_path):
    dg.Definitions.validate_loadable(build(settings()))
    assert list(tmp_path.iterdir()) == []


def changed(lane: Lane, other: Lane) -> set[str]:
    """Stages whose code version differs between two configurations."""
    return {stage for stage in STEP_VERSIONS if lane.code_version(stage) != other.code_version(stage)}


@pytest.mark.parametrize("name", sorted(DATASETS))
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_changed_value_makes_exactly_its_stage_stale(preset, name):
    lane = PRESETS[preset].lanes[name]
    canvas, training = next(iter(lane.training.canvases.items()))

    def trained(**values):
        canvases = {**lane.training.canvases, canvas: replace(training, **values)}
        return replace(lane, training=replace(lane.training, canvases=canvases))

    def budget(stage):
        longer = replace(training.stages[stage], steps=training.stages[stage].steps + 1)
        return trained(stages={**training.stages, stage: longer})

    assert changed(lane, replace(lane)) == set()
    assert changed(lane, budget("stage1")) == {"stage1"}
    assert changed(lane, budget("stage2")) == {"stage2"}
    assert changed(lane, trained(size=(32, 32))) == {"stage1", "stage2"}
    assert changed(lane, replace(lane, images=replace(lane.images, split_seed=1))) == {"images"}
    assert changed(lane, replace(lane, tiles=replace(lane.tiles, shard=64))) == {"tiles"}
    assert changed(lane, replace(lane, proxies=replace(lane.proxies, segments=799))) == {"proxies"}
    assert changed(lane, replace(lane, evaluation=replace(lane.evaluation, resamples=999))) == {"evaluation"}


def test_the_graph_carries_the_lane_s_code_versions(settings, monkeypatch):
    monkeypatch.setenv("PROXYANO_PRESET", "sample")
    graph = build(settings()).resolve_asset_graph()
    for name, lane in PRESETS["sample"].lanes.items():
        for stage in STEP_VERSIONS:
            found = graph.get(dg.AssetKey([name, stage])).code_version
            assert found == LaneAssets(dataset=DATASETS[name], lane=lane, preset="sample", seed=0).code_version(stage)
            assert found.startswith(lane.code_version(stage))


def test_a_changed_data_set_row_makes_its_images_stale_and_a_changed_form_its_tiles(monkeypatch):
    lane = LaneAssets(dataset=DATASETS["oct"], lane=PRESETS["sample"].lanes["oct"], preset="sample", seed=0)
    before = {stage: lane.code_version(stage) for stage in STEP_VERSIONS}

    def stale(after: LaneAssets) -> set[str]:
        return {stage for stage in STEP_VERSIONS if after.code_version(stage) != before[stage]}

    assert stale(replace(lane, dataset=replace(lane.dataset, shares=(0.7, 0.1, 0.1, 0.1)))) == {"images"}
    form = FORMS["bruch_membrane"]
    monkeypatch.setattr(form, "version", form.version + 1)
    assert stale(lane) == {"tiles"}


def test_code_versions_are_the_same_in_every_process():
    code = (
        "from pipeline.experiments.presets import PRESETS as p; print(p['quick'].lanes['oct'].code_version('stage2'))"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert run.stdout.strip() == PRESETS["quick"].lanes["oct"].code_version("stage2")


def test_an_unknown_preset_is_named(settings, monkeypatch):
    monkeypatch.setenv("PROXYANO_PRESET", "huge")
    with pytest.raises(
        ConfigError, match=r"PROXYANO_PRESET: expected one of \['paper', 'quick', 'sample'\], got 'huge'"
    ):
        build(settings())


def test_the_lane_refuses_no_stage_of_a_preset():
    for preset in PRESETS.values():
        assert set(preset.lanes) == set(DATASETS)
        assert preset.reason


def test_every_asset_has_a_pool_of_one_in_the_queue(settings, tmp_path):
    definitions = build(settings())
    pools = {
        next(iter(asset.keys)): asset.op.pool for asset in definitions.assets if isinstance(asset, dg.AssetsDefinition)
    }
    assert len(pools) == len(set(pools.values())) == len(DATASETS) * (len(STAGES) - 1) + 1
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(Path(__file__).parents[2] / "pipeline" / "wiring" / "dagster.yaml", home)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_settings("concurrency")["pools"] == {"granularity": "run", "default_limit": 1}
