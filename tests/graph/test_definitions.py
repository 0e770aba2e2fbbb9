"""The asset graph as a snapshot: three lanes by one factory, the report, and versions that change where they should."""

import os
import shutil
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from assets.lane import LaneAssets
from models.methods import METHODS
from pipeline.data.datasets import DATASETS
from pipeline.definitions import build
from pipeline.errors import ConfigError
from pipeline.experiments.lane import STEPS, Lane
from pipeline.experiments.lanes import oct
from pipeline.experiments.presets import PRESETS, full
from pipeline.forms import FORMS
from pipeline.wiring.settings import Settings

STAGES = {
    "download": (),
    "images": ("download",),
    "tiles": ("images",),
    "proxies": ("tiles",),
    "stage1": ("tiles", "proxies"),
    "stage2": ("tiles", "proxies", "stage1"),
    "members": ("tiles", "proxies"),
    "evaluation": ("images", "tiles", "proxies", "stage1", "stage2", "members"),
    "detector": ("tiles", "stage2", "evaluation"),
    "baselines": ("tiles", "proxies"),
    "baseline_evaluations": ("images", "tiles", "proxies", "baselines"),
    "ablations": ("images", "tiles", "proxies"),
}
"""Stage of a lane → what it is made of."""
BENCHMARK = ("baselines", "baseline_evaluations")  # a partition each run
ABLATIONS = "ablations"  # a partition each experiment
FORM_OFF = ("tiles", "proxies", *BENCHMARK, ABLATIONS)  # stages of a lane that has the images of another
KINDS = {
    "download": {"file"},
    "images": {"pandas", "parquet"},
    "tiles": {"zarr", "dask"},
    "proxies": {"zarr", "dask", "scikitlearn"},
    "stage1": {"pytorch"},
    "stage2": {"pytorch"},
    "members": {"pytorch"},
    "evaluation": {"scikitlearn", "parquet"},
    "detector": {"pytorch"},
    "baselines": {"pytorch"},
    "baseline_evaluations": {"scikitlearn", "parquet"},
    "ablations": {"pytorch", "parquet"},
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
    "stage1": {"weights_finite"},
    "stage2": {"weights_finite"},
    "members": {"weights_finite"},
    "evaluation": {"scores_complete", "reconstructs"},
    "baselines": {"weights_finite"},
    "baseline_evaluations": {"scores_complete"},
    "ablations": {"proxy_values", "weights_finite", "scores_complete"},
}
REPORTS = REPORT, BENCHMARK_REPORT, ABLATION_REPORT = tuple(
    dg.AssetKey(f"{name}_report") for name in ("evaluation", "benchmark", "ablation")
)


def has(name: str, stage: str) -> bool:
    """The paper's ablations are on brain MRI and OCT."""
    return stage != ABLATIONS or name != "idrid"


def form_off(preset: str) -> set[str]:
    return {f"{name}_plain" for name in PRESETS[preset].form_off}


@pytest.fixture
def settings(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("PROXYANO_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PROXYANO_HOME", str(tmp_path))
    return Settings


@pytest.fixture(params=sorted(PRESETS))
def preset(request, monkeypatch):
    monkeypatch.setenv("PROXYANO_PRESET", request.param)
    return request.param


@pytest.fixture
def graph(settings, preset):
    """Asset graph of every preset: all have the same lanes."""
    return build(settings()).resolve_asset_graph()


def test_three_lanes_and_three_reports(graph, preset):
    assert set(DATASETS) == {"brain_mri", "oct", "idrid"}
    expected = {
        dg.AssetKey([name, stage]): {dg.AssetKey([name, other]) for other in above}
        for name in DATASETS
        for stage, above in STAGES.items()
        if has(name, stage)
    }
    for name in form_off(preset):
        images = dg.AssetKey([name.removesuffix("_plain"), "images"])
        expected |= {
            dg.AssetKey([name, stage]): {images if other == "images" else dg.AssetKey([name, other]) for other in above}
            for stage, above in STAGES.items()
            if stage in FORM_OFF
        }
    expected[REPORT] = {dg.AssetKey([name, stage]) for name in DATASETS for stage in ("evaluation", "detector")}
    expected[BENCHMARK_REPORT] = {
        dg.AssetKey([name, "baseline_evaluations"]) for name in (*DATASETS, *form_off(preset))
    }
    expected[ABLATION_REPORT] = {
        dg.AssetKey([name, ABLATIONS]) for name in (*DATASETS, *form_off(preset)) if has(name, ABLATIONS)
    }
    assert {node.key: set(node.parent_keys) for node in graph.asset_nodes} == expected


def test_groups_kinds_owners_and_descriptions(graph):
    for node in graph.asset_nodes:
        report = node.key in REPORTS
        assert node.group_name == ("reports" if report else node.key.path[0])
        assert node.kinds == ({"plotly"} if report else KINDS[node.key.path[1]])
        assert node.description
        assert node.owners == ["team:proxyano"]
        if node.is_materializable:
            assert node.code_version
            assert node.is_partitioned == (node.key.path[-1] in (*BENCHMARK, ABLATIONS))
    observed = {node.key.path[-1] for node in graph.asset_nodes if not node.is_materializable}
    assert observed == {"download"}


def test_every_method_is_a_partition_of_every_lane(graph, preset):
    lanes = PRESETS[preset].lanes | {f"{name}_plain": lane for name, lane in PRESETS[preset].form_off.items()}
    for name, lane in lanes.items():
        for stage in BENCHMARK:
            keys = graph.get(dg.AssetKey([name, stage])).partitions_def.get_partition_keys()
            assert keys == list(lane.baselines)
        assert {row.training.method for row in lane.baselines.values() if row.seed == 0} == set(METHODS)
        assert all(row.training.canvases.keys() == lane.training.canvases.keys() for row in lane.baselines.values())
        budgets = {
            (canvas, sum(row.steps for row in plan.stages.values()), *{row.batch_size for row in plan.stages.values()})
            for baseline in lane.baselines.values()
            for canvas, plan in baseline.training.canvases.items()
        }
        assert len(budgets) == len(lane.training.canvases), "one budget of steps and one batch size for all methods"


def test_checks_stand_on_their_stages(graph, preset):
    found: dict[dg.AssetKey, set[str]] = {}
    for check in graph.asset_check_keys:
        found.setdefault(check.asset_key, set()).add(check.name)
    every = [(name, stage) for name in DATASETS for stage in CHECKS if has(name, stage)]
    expected = {dg.AssetKey([name, stage]): CHECKS[stage] for name, stage in every}
    expected |= {dg.AssetKey([name, stage]): CHECKS[stage] for name in form_off(preset) for stage in FORM_OFF}
    expected |= {report: {"page_opens_offline"} for report in REPORTS}
    assert found == expected


def test_jobs_are_named_for_what_people_do(settings):
    definitions = build(settings())
    selected = {
        job: {key.to_user_string() for key in definitions.resolve_job_def(job).asset_layer.executable_asset_keys}
        for job in ("prepare", "train", "evaluate")
    }
    lanes = {
        "prepare": ("images", "tiles", "proxies"),
        "train": ("stage1", "stage2", "members"),
        "evaluate": ("evaluation", "detector"),
    }
    expected = {job: {f"{name}/{stage}" for name in DATASETS for stage in stages} for job, stages in lanes.items()}
    expected["evaluate"].add("evaluation_report")
    assert selected == expected
    names = {job.name for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")}
    assert names == {"prepare", "train", "evaluate", "benchmark"}
    assert all(definitions.resolve_job_def(job).description for job in selected)


def test_definitions_are_loadable_and_write_nothing(settings, tmp_path):
    dg.Definitions.validate_loadable(build(settings()))
    assert list(tmp_path.iterdir()) == []


def changed(lane: Lane, other: Lane) -> set[str]:
    """Stages whose code version differs between two configurations."""
    return {stage for stage in STEPS if lane.code_version(stage) != other.code_version(stage)}


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
    assert changed(lane, trained(size=(16, 16))) == {"stage1", "stage2"}
    assert changed(lane, replace(lane, images=replace(lane.images, split_seed=1))) == {"images"}
    assert changed(lane, replace(lane, tiles=replace(lane.tiles, shard=64))) == {"tiles"}
    assert changed(lane, replace(lane, proxies=replace(lane.proxies, segments=799))) == {"proxies"}
    assert changed(lane, replace(lane, evaluation=replace(lane.evaluation, resamples=999))) == {"evaluation"}


def code_versions(lane: Lane) -> dict[str, str]:
    """Of every stage, run of the benchmark and ablation."""
    runs = {f"baselines/{name}": lane.baseline_version("baselines", name) for name in lane.baselines}
    rows = {f"ablations/{name}": lane.baseline_version("ablations", name) for name in lane.ablations}
    return {stage: lane.code_version(stage) for stage in STEPS} | runs | rows


def test_a_learning_rate_in_one_lane_s_file_makes_that_lane_s_training_stale_and_nothing_else():
    source = Path(str(oct.__file__)).read_text()
    edited = types.ModuleType("edited")
    exec(source.replace("learning_rate=2e-3", "learning_rate=1e-3", 1), edited.__dict__)  # the first one is STAGE's
    for before, after in ((oct.QUICK, edited.QUICK), (full(oct.QUICK), full(edited.QUICK))):
        one, other = code_versions(before), code_versions(after)
        assert {name for name in one if one[name] != other[name]} == {"stage1", "stage2"}
    assert code_versions(edited.SAMPLE) == code_versions(oct.SAMPLE)
    readers = {file.name for file in Path(str(oct.__file__)).parent.glob("*.py") if "lanes.oct" in file.read_text()}
    assert readers == set(), "a lane reads nothing of another lane"


def test_a_changed_run_of_the_benchmark_leaves_the_others_alone():
    lane = PRESETS["quick"].lanes["oct"]
    own = lane.baselines["vae"]
    canvases = {
        name: replace(plan, stages={stage: replace(row, steps=9) for stage, row in plan.stages.items()})
        for name, plan in own.training.canvases.items()
    }
    shorter = replace(own, training=replace(own.training, canvases=canvases))
    after = replace(lane, baselines={**lane.baselines, "vae": shorter})

    def versions(of: Lane) -> set[tuple[str, str]]:
        return {(name, of.baseline_version("baselines", name)) for name in of.baselines}

    assert {name for name, _ in versions(lane) ^ versions(after)} == {"vae"}
    assert changed(lane, after) == set()
    scored = replace(lane, evaluation=replace(lane.evaluation, resamples=999))
    assert versions(scored) == versions(lane)
    stage = "baseline_evaluations"
    assert all(scored.baseline_version(stage, name) != lane.baseline_version(stage, name) for name in lane.baselines)


def test_the_graph_carries_the_lane_s_code_versions(settings, monkeypatch):
    monkeypatch.setenv("PROXYANO_PRESET", "sample")
    graph = build(settings()).resolve_asset_graph()
    for name, lane in PRESETS["sample"].lanes.items():
        for stage in (stage for stage in STEPS if has(name, stage)):
            found = graph.get(dg.AssetKey([name, stage])).code_version
            assert found == LaneAssets(dataset=DATASETS[name], lane=lane, preset="sample", seed=0).code_version(stage)
            assert found.startswith(lane.code_version(stage))


def test_a_changed_data_set_row_makes_its_images_stale_and_a_changed_form_its_tiles(monkeypatch):
    lane = LaneAssets(dataset=DATASETS["oct"], lane=PRESETS["sample"].lanes["oct"], preset="sample", seed=0)
    before = {stage: lane.code_version(stage) for stage in STEPS}

    def stale(after: LaneAssets) -> set[str]:
        return {stage for stage in STEPS if after.code_version(stage) != before[stage]}

    assert stale(replace(lane, dataset=replace(lane.dataset, shares=(0.7, 0.1, 0.1, 0.1)))) == {"images"}
    form = FORMS["bruch_membrane"]
    monkeypatch.setattr(form, "version", form.version + 1)
    assert stale(lane) == {"tiles", "detector"}


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
        ConfigError, match=r"PROXYANO_PRESET: expected one of \['full', 'paper', 'quick', 'sample'\], got 'huge'"
    ):
        build(settings())


def test_the_lane_refuses_no_stage_of_a_preset():
    for preset in PRESETS.values():
        assert set(preset.lanes) == set(DATASETS)
        assert preset.reason


def test_every_asset_has_a_pool_of_one_in_the_queue(settings, tmp_path):
    definitions = build(settings())
    pools = {
        next(iter(asset.keys)): asset.op.pool
        for asset in definitions.assets
        if isinstance(asset, dg.AssetsDefinition) and asset.is_materializable
    }
    apart = {key for key in pools if key.path[-1] in (*BENCHMARK, ABLATIONS)}
    assert {pools.pop(key) for key in apart} == {None}, "runs of the benchmark and experiments are made side by side"
    lanes = len(DATASETS) * (len(STAGES) - 1 - len(BENCHMARK) - 1) + 2 * len(form_off("sample"))
    assert None not in pools.values()
    assert len(pools) == len(set(pools.values())) == lanes + len(REPORTS)
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(Path(__file__).parents[2] / "pipeline" / "wiring" / "dagster.yaml", home)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_settings("concurrency")["pools"] == {"granularity": "run", "default_limit": 1}
