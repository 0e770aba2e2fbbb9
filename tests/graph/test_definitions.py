"""The asset graph as a snapshot: three lanes from one table of stages, the reports, jobs and pools."""

import shutil
from pathlib import Path

import dagster as dg
import pytest

from models.methods import METHODS
from pipeline.data.datasets import DATASETS
from pipeline.definitions import build
from pipeline.errors import ConfigError
from pipeline.experiments.presets import PRESETS

STAGES = {
    "download": (),
    "images": ("download",),
    "tiles": ("images",),
    "proxies": ("tiles",),
    "normals": ("tiles", "proxies"),
    "stage1": ("normals",),
    "stage2": ("normals", "stage1"),
    "members": ("normals",),
    "detector": ("normals", "stage2", "members"),
    "evaluation": ("images", "tiles", "proxies", "stage1", "stage2", "members", "detector", "normals"),
    "robustness": ("images", "detector"),
    "baselines": ("normals",),
    "baseline_evaluations": ("images", "tiles", "proxies", "baselines"),
    "ablations": ("images", "tiles", "proxies"),
}
"""Stage of a lane → what it is made of."""
BENCHMARK = ("baselines", "baseline_evaluations")  # a partition each run
ABLATIONS = "ablations"  # a partition each experiment
FORM_OFF = ("tiles", "proxies", "normals", *BENCHMARK, ABLATIONS)  # stages of a lane that has the images of another
KINDS = {
    "download": {"file"},
    "images": {"pandas", "parquet"},
    "tiles": {"zarr", "dask"},
    "proxies": {"zarr", "dask", "scikitlearn"},
    "normals": {"zarr"},
    "stage1": {"pytorch"},
    "stage2": {"pytorch"},
    "members": {"pytorch"},
    "evaluation": {"scikitlearn", "parquet"},
    "detector": {"pytorch"},
    "robustness": {"scikitlearn", "parquet"},
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
    expected |= {
        dg.AssetKey([name, stage]): CHECKS[stage] for name in form_off(preset) for stage in FORM_OFF if stage in CHECKS
    }
    expected |= {report: {"page_opens_offline"} for report in REPORTS}
    assert found == expected
    assert [key for key in graph.asset_check_keys if not graph.get_check_spec(key).description] == []


def test_jobs_are_named_for_what_people_do(settings):
    definitions = build(settings())
    selected = {
        job: {key.to_user_string() for key in definitions.resolve_job_def(job).asset_layer.executable_asset_keys}
        for job in ("main_lane", "prepare", "train", "evaluate")
    }
    lanes = {
        "prepare": ("images", "tiles", "proxies", "normals"),
        "train": ("stage1", "stage2", "members"),
        "evaluate": ("evaluation", "detector"),
    }
    expected = {job: {f"{name}/{stage}" for name in DATASETS for stage in stages} for job, stages in lanes.items()}
    expected["evaluate"].add("evaluation_report")
    expected["main_lane"] = set().union(*expected.values())
    assert selected == expected
    names = {job.name for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")}
    assert names == {"main_lane", "prepare", "train", "evaluate", "benchmark"}
    assert all(definitions.resolve_job_def(job).description for job in selected)


def test_definitions_are_loadable_and_write_nothing(settings, tmp_path):
    dg.Definitions.validate_loadable(build(settings()))
    assert list(tmp_path.iterdir()) == []


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
    lanes = len(DATASETS) * (len(STAGES) - 1 - len(BENCHMARK) - 1) + 3 * len(form_off("sample"))
    assert None not in pools.values()
    assert len(pools) == len(set(pools.values())) == lanes + len(REPORTS)
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(Path(__file__).parents[2] / "pipeline" / "wiring" / "dagster.yaml", home)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_settings("concurrency")["pools"] == {"granularity": "run", "default_limit": 1}
