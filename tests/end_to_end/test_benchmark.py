"""The benchmark on the sample: runs as partitions, only what is missing, a report of what stands."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from assets import benchmark
from assets.benchmark import Due, due, make
from assets.stage import BENCHMARK as STAGES
from models.methods import METHODS
from pipeline.definitions import build, lanes_of
from pipeline.evaluation.records import RECORD_KEYS
from pipeline.evaluation.saved import load_evaluation
from pipeline.experiments.presets import PRESETS
from pipeline.store.lineage import closure, named
from pipeline.store.versions import Store
from pipeline.wiring.settings import Settings

RAN = ("auto_encoder", "pix2pix", "cycle_gan")
APART = "ganomaly"  # made by a process of its own
LANE = "oct_plain"


@pytest.fixture(scope="module")
def bench(undisturbed, tmp_path_factory):
    """A copy of the made sample with four runs on OCT with the form off, and how those in own processes went."""
    root = tmp_path_factory.mktemp("benchmark") / "home"
    shutil.copytree(undisturbed.root, root)
    environment = undisturbed.environment | {"PROXYANO_HOME": str(root), "DAGSTER_HOME": str(root / "dagster")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        for name in ("PROXYANO_RAW", "PROXYANO_PRESET", "PROXYANO_SEED", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        materialize(root, *(f"{LANE}/{stage}" for stage in ("tiles", "proxies", "normals")))
        for name in RAN:
            materialize(root, *(f"{LANE}/{stage}" for stage in STAGES), partition=name)
        wanted = [Due(dataset=LANE, name=name, stages=STAGES) for name in ("no_such_method", APART)]
        yield root, list(make(wanted, root / "benchmark", workers=2))


@pytest.fixture(scope="module")
def home(bench):
    return bench[0]


def materialize(root: Path, *assets: str, partition: str | None = None) -> dg.ExecuteInProcessResult:
    definitions = build(Settings())
    with dg.DagsterInstance.from_config(str(root / "dagster")) as instance:
        return dg.materialize(
            list(definitions.assets),
            resources=dict(definitions.resources),
            instance=instance,
            selection=dg.AssetSelection.assets(*(dg.AssetKey(asset.split("/")) for asset in assets)),
            partition_key=partition,
        )


def missing(root: Path) -> set[str]:
    lanes = [lane for lane in lanes_of(Settings()) if lane.dataset.name == LANE]
    return {each.name for each in due(lanes, Store(root / "stores"))}


def gallery(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "gallery.npz") as arrays:
        return dict(arrays)


def test_every_method_is_scored_the_same_way(home):
    store = Store(home / "stores")
    tables = {}
    for name in RAN:
        version = store.current(f"{LANE}/baseline_evaluations/{name}")
        lane = load_evaluation(version.path)
        tables[name] = lane.scores
        assert {f"{name}:{score}" for score in ("latent", "image", "worst", "standardised")} <= set(lane.scores)
        assert lane.about("parameters") > 0
        assert lane.about("train_minutes") > 0
        assert lane.about("images_per_second") > 0
        assert lane.about("peak_memory_gib") > 0
        assert sum(sum(stages.values()) for stages in lane.about("budget").values()) == 20
        assert {tuple(record) for record in lane.records} == {RECORD_KEYS}
        assert {"image/input", "image/reconstruction", "image/map"} <= set(gallery(version.path))
    assert "cycle_gan:standardised_from_proxy" in tables["cycle_gan"]
    assert not np.allclose(
        tables["cycle_gan"]["cycle_gan:standardised_from_proxy"], tables["cycle_gan"]["cycle_gan:standardised"]
    )
    ids = [table["image_id"].tolist() for table in tables.values()]
    assert ids[0] == ids[1] == ids[2]


def test_the_gallery_shows_the_same_images_of_every_method(home):
    store = Store(home / "stores")
    galleries = [gallery(store.current(f"{LANE}/baseline_evaluations/{name}").path) for name in RAN]
    assert len({tuple(one["image_id"]) for one in galleries}) == 1
    assert all(np.array_equal(one["image/input"], galleries[0]["image/input"]) for one in galleries)
    assert not np.array_equal(galleries[0]["image/map"], galleries[1]["image/map"])


def test_what_stands_is_not_missing_and_a_changed_run_is(home, monkeypatch):
    rest = set(METHODS) - {*RAN, APART}
    assert missing(home) == rest
    preset = PRESETS["sample"]
    lane = preset.form_off["oct"]
    own = lane.baselines["pix2pix"]
    plan = own.training.canvases["image"]
    shorter = replace(plan, stages={stage: replace(row, steps=5) for stage, row in plan.stages.items()})
    changed = replace(own, training=replace(own.training, canvases={"image": shorter}))
    other = replace(lane, baselines={**lane.baselines, "pix2pix": changed})
    monkeypatch.setitem(PRESETS, "sample", replace(preset, form_off={"oct": other}))
    assert missing(home) == rest | {"pix2pix"}


def test_a_run_that_stands_is_not_trained_again(home):
    before = Store(home / "stores").versions(f"{LANE}/baselines/auto_encoder")
    result = materialize(home, *(f"{LANE}/{stage}" for stage in STAGES), partition="auto_encoder")
    assert result.success
    assert Store(home / "stores").versions(f"{LANE}/baselines/auto_encoder") == before
    names = [event.asset_key.path[-1] for event in result.get_asset_materialization_events()]
    assert sorted(names) == sorted(STAGES)


def test_a_run_carries_method_data_set_and_seed_in_mlflow(home, undisturbed):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(LANE)
    runs = client.search_runs([experiment.experiment_id], "tags.stage = 'baseline_evaluations'")
    assert {run.data.tags["method"] for run in runs} == {*RAN, APART}
    assert {run.data.tags["seed"] for run in runs} == {"0"}
    assert {run.data.tags["dataset"] for run in runs} == {LANE}
    assert all("image_auroc_standardised" in run.data.metrics for run in runs)
    assert all(run.data.params["steps"] == "20" for run in runs)


def test_runs_are_made_in_processes_of_their_own_and_a_failed_one_stops_nothing(bench):
    root, made = bench
    first, second = sorted(made, key=lambda one: one.due.name == APART)
    assert first.failed
    assert "no_such_method" in first.log.read_text()
    assert not second.failed, second.log.read_text()[-3000:]
    assert APART not in missing(root)


def test_the_report_is_made_from_what_exists(home):
    materialize(home, "benchmark_report")
    folder = home / "reports" / "benchmark_report"
    text = (folder / "report.md").read_text()
    assert "not run" in text
    assert "f-AnoGAN" in text
    records = pd.DataFrame(json.loads((folder / "report.json").read_text()))
    assert tuple(records.columns) == RECORD_KEYS
    plain = records[records["dataset"] == LANE]
    assert set(RAN) <= set(plain["method"])
    assert (folder / "index.html").stat().st_size > 100_000


def test_the_report_leads_to_the_raw_files(home):
    materialize(home, "benchmark_report")
    store = Store(home / "stores")
    (made,) = named(store, str(home / "reports" / "benchmark_report" / "report.json"))
    assert made[0] == "benchmark_report"
    behind = {asset for asset, _ in closure(store, [made])}
    assert {f"{LANE}/baseline_evaluations/pix2pix", f"{LANE}/baselines/pix2pix", f"{LANE}/tiles"} <= behind
    assert {"oct/images", "oct/stage2", "oct/evaluation"} <= behind


def test_the_job_runs_the_command(home, monkeypatch):
    """What the command makes is tested above."""
    called = []
    monkeypatch.setattr(benchmark, "run", lambda *words: called.append(words))
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        job = build(Settings()).resolve_job_def("benchmark")
        config = {"ops": {"make_missing": {"config": {"workers": 2}}}}
        assert job.execute_in_process(instance=instance, run_config=config).success
    assert called == [("pipeline.cli", "benchmark", "--workers", "2")]


def test_dry_run_names_what_is_missing_and_makes_nothing(home, undisturbed):
    environment = undisturbed.environment | {"PROXYANO_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
    line = [sys.executable, "-m", "pipeline.cli", "benchmark", "--dry-run", "--dataset", LANE]
    root = Path(__file__).parents[2]
    run = subprocess.run(line, env=environment, cwd=root, capture_output=True, text=True, check=True)
    assert "sparse_gan" in run.stdout
    assert "pix2pix" not in run.stdout
    line[-1] = "retina"
    wrong = subprocess.run(line, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "got 'retina'" in wrong.stdout
