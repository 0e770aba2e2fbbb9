"""A description in the home gives a lane like the built-in ones, in every preset and form; without it there is none."""

import dagster as dg
import pytest
import yaml

from pipeline.data.datasets import DATASETS
from pipeline.definitions import build, lanes_of
from pipeline.experiments.lanes.user_dataset import user_lane
from pipeline.experiments.presets import PRESETS
from pipeline.forms import FORMS
from pipeline.wiring.settings import Settings

STAGES = ("download", "images", "tiles", "proxies", "normals", "stage1", "stage2", "members", "detector", "evaluation")
STAGES += ("robustness",)
REPORT = dg.AssetKey("evaluation_report")


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty home in which data sets are described by ``describe(home, name, …)``."""
    for name in ("PROXYANO_RAW", "PROXYANO_PRESET", "PROXYANO_SPLIT_SEED", "PROXYANO_FUNDUS_RGB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROXYANO_HOME", str(tmp_path))
    return tmp_path


def describe(home, name, **fields):
    (home / "datasets").mkdir(exist_ok=True)
    text = yaml.safe_dump({"normal": "/data/ok", "abnormal": "/data/ill"} | fields)
    (home / "datasets" / f"{name}.yaml").write_text(text)


def of(graph, name):
    return {node.key.path[-1]: node for node in graph.asset_nodes if node.key.path[0] == name}


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_description_is_a_lane_in_every_preset_and_goes_with_its_file(home, preset, monkeypatch):
    monkeypatch.setenv("PROXYANO_PRESET", preset)
    describe(home, "clinic", masks="/data/masks", title="A clinic")
    definitions = build(Settings())
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    built_in, own = of(graph, "oct"), of(graph, "clinic")
    assert set(own) == set(STAGES)
    for stage in STAGES:
        assert own[stage].group_name == "clinic"
        assert own[stage].kinds == built_in[stage].kinds
        parents = {key.path[-1] for key in built_in[stage].parent_keys}
        assert {key.path[-1] for key in own[stage].parent_keys} == parents
    assert dg.AssetKey(["clinic", "evaluation"]) in graph.get(REPORT).parent_keys
    checks = {key.name for key in graph.asset_check_keys if key.asset_key.path[0] == "clinic"}
    assert {"groups_apart", "near_duplicates_apart", "normals_only", "mask_sizes", "tile_coverage"} <= checks
    assert "counts_within_official" not in checks
    for job, stage in {"prepare": "images", "train": "stage2", "evaluate": "evaluation"}.items():
        selected = definitions.resolve_job_def(job).asset_layer.executable_asset_keys
        assert dg.AssetKey(["clinic", stage]) in selected
    assert definitions.resources["raw"].own["clinic"]["masks/lesion"] == "/data/masks"
    assert [path.name for path in home.rglob("*")] == ["datasets", "clinic.yaml"]
    (home / "datasets" / "clinic.yaml").unlink()
    assert of(build(Settings()).resolve_asset_graph(), "clinic") == {}


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_form_has_a_lane(preset, form):
    lane = user_lane(PRESETS[preset].user_datasets, form)
    canvases = set(FORMS[form].canvases)
    assert lane.tiles.form == form
    channels = {plan.model.channels for plan in lane.training.canvases.values()}
    assert channels == {3 if form.endswith("_rgb") else 1}
    for one in (lane.training.canvases, lane.members["denoising"].canvases, lane.evaluation.scores):
        assert set(one) == canvases
    assert {(control.name, control.canvas) for control in lane.evaluation.controls} == {
        (name, canvas) for name in ("pca", "nearest", "brightness") for canvas in canvases
    }


def test_size_and_steps_of_the_description_replace_the_preset_s(home, monkeypatch):
    monkeypatch.setenv("PROXYANO_PRESET", "quick")
    describe(home, "clinic", training={"size": 96, "steps": 70})
    (lane,) = (lane.lane for lane in lanes_of(Settings()) if lane.dataset.name == "clinic")
    for plan, side in ((lane.training, 96), (lane.members["denoising"], 64)):
        assert plan.canvases["image"].size == (side, side)
        assert {stage.steps for stage in plan.canvases["image"].stages.values()} == {70}


def test_what_is_described_otherwise_makes_its_stage_stale(home, monkeypatch):
    monkeypatch.setenv("PROXYANO_PRESET", "sample")

    def versions(**fields):
        describe(home, "clinic", **fields)
        (lane,) = (lane for lane in lanes_of(Settings()) if lane.dataset.name == "clinic")
        return {stage: lane.code_version(stage) for stage in STAGES[1:]}

    def stale(**fields):
        after = versions(**fields)
        return {stage for stage, version in versions().items() if after[stage] != version}

    assert stale(normal="/elsewhere", title="Another", licence="CC0") == set()
    assert stale(split={"by": "patient", "patient": "(.)"}) == {"images"}
    assert stale(shares=[0.4, 0.2, 0.2, 0.2]) == {"images"}
    assert stale(masks="/data/masks") == {"images"}
    assert stale(form="field_of_view") == {"tiles", "proxies", "stage1", "stage2", "members", "evaluation", "detector"}
    assert stale(training={"steps": 50}) == {"stage1", "stage2", "members"}
    assert stale(training={"size": 128}) == {"proxies", "stage1", "stage2", "evaluation", "detector"}


def test_real_data_of_one_s_own_trains_as_the_built_in_lanes_do():
    lane = user_lane(PRESETS["quick"].user_datasets, "flat_field")
    plan = lane.training.canvases["field"]
    assert plan.size == lane.proxies.sizes["field"] == (128, 128)
    assert plan.model.contrast > 1
    assert plan.model.patch_on == "image"
    assert lane.evaluation.scores["field"].sigma == 2 * lane.evaluation.member_scores["denoising"].sigma


def test_the_paper_s_leaking_protocol_is_not_for_own_data(home, monkeypatch):
    monkeypatch.setenv("PROXYANO_PROTOCOL", "paper_random")
    monkeypatch.setenv("PROXYANO_SPLIT_SEED", "3")
    describe(home, "clinic")
    found = {lane.dataset.name: lane.lane.images for lane in lanes_of(Settings())}
    assert (found["clinic"].protocol, found["clinic"].split_seed) == ("leak_free", 3)
    assert found["brain_mri"].protocol == "paper_random"


def test_a_description_that_does_not_do_is_named_and_stops_no_other_lane(home, caplog):
    describe(home, "clinic", form="round")
    describe(home, "ward")
    assert {lane.dataset.name for lane in lanes_of(Settings())} >= {"ward", *DATASETS}
    assert "datasets/clinic.yaml: form: expected one of" in caplog.text
    assert set(DATASETS) == {"brain_mri", "oct", "idrid"}


def test_own_data_has_quick_beside_the_drawn_sample(home):
    describe(home, "clinic")
    lanes = {lane.dataset.name: lane for lane in lanes_of(Settings())}
    assert (lanes["clinic"].preset, lanes["clinic"].drawn) == ("quick", False)
    assert (lanes["oct"].preset, lanes["oct"].drawn) == ("sample", True)
