"""The run tracker on a real MLflow store (sqlite): parents, nested runs, inputs, tags, ends of runs."""

import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_PARENT_RUN_ID

from pipeline.store.versions import Version
from pipeline.wiring.runs import git_commit
from pipeline.wiring.tracking import Origin, Tracker

pytestmark = pytest.mark.slow

ORIGIN = Origin(
    dataset="oct",
    stage="stage1",
    asset="oct/stage1",
    dagster_run="run-1",
    code_version="1-abc",
    preset="sample",
    seed=3,
)
COMMIT = git_commit()


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MLflow database without runs: its tables take seconds to make, so tests start from a copy."""
    folder = tmp_path_factory.mktemp("mlflow")
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'empty.db'}")
    client.search_experiments()
    return (folder / "empty.db").read_bytes()


@pytest.fixture
def tracker(tmp_path: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setattr("pipeline.wiring.origin.git_commit", lambda: COMMIT)
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    return Tracker(uri=uri, page="http://pages:5000/", artifacts=tmp_path / "mlruns")


def version(tmp_path: Path, asset: str, data_version: str) -> Version:
    return Version(asset=asset, path=tmp_path / asset, data_version=data_version, meta={})


def track(tracker: Tracker, tmp_path: Path, origin: Origin = ORIGIN, made: str = "b" * 16, inputs=(), **parameters):
    """One tracked materialization that made the version ``made``; the run's id."""
    with tracker.stage(origin, parameters=parameters, inputs=inputs) as run:
        run.metrics(20, {"wide/loss": 0.5})
        return run.result(version(tmp_path, origin.asset, made), {"minutes": 0.1})


def test_an_evaluation_gives_its_experiment_a_view_with_the_columns_that_people_compare(tracker, tmp_path):
    origin = replace(ORIGIN, stage="evaluation", asset="oct/evaluation")
    metrics = {"image_auroc_standardised": 0.9, "image_auroc_minus_null_standardised": 0.1, "cpu_seconds": 3.0}
    with tracker.stage(origin, parameters={}, inputs=()) as run:
        run.result(version(tmp_path, origin.asset, "b" * 16), metrics)
    experiment = tracker.client.get_experiment_by_name("oct")
    columns = json.loads(experiment.tags["mlflow.sharedViewState.lanes"])["selectedColumns"]
    assert [name for name in columns if name.startswith("metrics")] == [
        f"metrics.`{name}`" for name in list(metrics)[:2]
    ]
    page = f"/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey=lanes"
    assert tracker.pages()["oct"] == page


def test_a_stage_is_a_finished_run_below_the_parent_of_its_lane(tracker, tmp_path):
    tiles = version(tmp_path, "oct/tiles", "a" * 32)
    run_id = track(tracker, tmp_path, inputs=[tiles], **{"wide.steps": 60, "size": [64, 64]})
    run = tracker.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"wide.steps": "60", "size": "[64, 64]"}
    assert run.data.metrics == {"wide/loss": 0.5, "minutes": 0.1}
    (point,) = tracker.client.get_metric_history(run_id, "wide/loss")
    assert (point.step, point.value) == (20, 0.5)
    wanted = {"dataset": "oct", "stage": "stage1", "preset": "sample", "seed": "3", "dagster.run_id": "run-1"}
    wanted |= {"dagster.asset_key": "oct/stage1", "code_version": "1-abc", "data_version": "b" * 16}
    assert wanted.items() <= run.data.tags.items()
    assert run.data.tags[MLFLOW_GIT_COMMIT] == COMMIT
    parent = tracker.client.get_run(run.data.tags[MLFLOW_PARENT_RUN_ID])
    assert parent.data.tags["lane"] == "oct"
    assert parent.info.status == "FINISHED"
    assert MLFLOW_PARENT_RUN_ID not in parent.data.tags
    assert "stage" not in parent.data.tags


def test_inputs_are_known_by_their_data_version(tracker, tmp_path):
    inputs = [version(tmp_path, "oct/tiles", "a" * 32), version(tmp_path, "oct/proxies", "c" * 32)]
    run = tracker.client.get_run(track(tracker, tmp_path, inputs=inputs))
    found = {item.dataset.name: item for item in run.inputs.dataset_inputs}
    assert {name: item.dataset.digest for name, item in found.items()} == {
        "oct/tiles": "a" * 32,
        "oct/proxies": "c" * 32,
    }
    assert json.loads(found["oct/tiles"].dataset.source) == {"uri": (tmp_path / "oct/tiles").as_uri()}
    assert [tag.value for tag in found["oct/tiles"].tags] == ["stage1"]
    assert run.data.tags["input.oct/tiles"] == "a" * 32
    assert run.data.tags["input.oct/proxies"] == "c" * 32


def test_the_downloads_a_run_read_are_tags(tracker, tmp_path):
    with tracker.stage(replace(ORIGIN, stage="images", asset="oct/images"), parameters={}, inputs=[]) as run:
        run.read_raw(tmp_path / "raw", "f" * 16)
        run_id = run.result(version(tmp_path, "oct/images", "b" * 16), {})
    tags = tracker.client.get_run(run_id).data.tags
    assert (tags["raw.root"], tags["raw.fingerprint"]) == (str(tmp_path / "raw"), "f" * 16)


def test_what_a_run_or_a_lane_made_is_found_by_its_id(tracker, tmp_path):
    first = track(tracker, tmp_path)
    second = track(tracker, tmp_path, replace(ORIGIN, stage="stage2", asset="oct/stage2"), made="c" * 16)
    assert tracker.made_by(first) == [("oct/stage1", "b" * 16)]
    parent = tracker.client.get_run(second).data.tags[MLFLOW_PARENT_RUN_ID]
    assert set(tracker.made_by(parent)) == {("oct/stage1", "b" * 16), ("oct/stage2", "c" * 16)}
    with pytest.raises(LookupError, match="there is no MLflow run " + "0" * 32):
        tracker.made_by("0" * 32)
    tracker.client.delete_tag(first, "data_version")
    with pytest.raises(LookupError, match="made no version; it is FINISHED"):
        tracker.made_by(first)


def test_registered_models_name_what_their_run_made_and_read(tracker, tmp_path):
    assert tracker.registered() == set()
    tiles = version(tmp_path, "oct/tiles", "a" * 32)
    run_id = track(tracker, tmp_path, inputs=[tiles])
    track(tracker, tmp_path, replace(ORIGIN, stage="stage2", asset="oct/stage2"), made="c" * 16)
    tracker.client.create_registered_model("proxyano-oct")
    tracker.client.create_model_version("proxyano-oct", source=str(tmp_path), run_id=run_id)
    tracker.client.create_model_version("proxyano-oct", source=str(tmp_path))  # of no run
    assert tracker.registered() == {("oct/stage1", "b" * 16), ("oct/tiles", "a" * 32)}


def test_asking_where_no_run_was_ever_tracked_makes_no_database(tmp_path):
    fresh = Tracker(uri=f"sqlite:///{tmp_path / 'none.db'}", page="", artifacts=tmp_path / "mlruns")
    assert fresh.registered() == set()
    with pytest.raises(LookupError, match="holds no run yet"):
        fresh.made_by("0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_one_parent_a_lane_and_dagster_run(tracker, tmp_path):
    def parent(origin: Origin) -> str:
        run = tracker.client.get_run(track(tracker, tmp_path, origin))
        return str(run.data.tags[MLFLOW_PARENT_RUN_ID])

    first = parent(ORIGIN)
    assert parent(replace(ORIGIN, stage="stage2", asset="oct/stage2")) == first
    assert parent(replace(ORIGIN, dagster_run="run-2")) != first
    other = parent(replace(ORIGIN, dataset="idrid", asset="idrid/stage1"))
    assert other != first
    names = {experiment.name for experiment in tracker.client.search_experiments()}
    assert {"oct", "idrid"} <= names
    assert tracker.client.get_run(first).info.experiment_id != tracker.client.get_run(other).info.experiment_id


def test_a_version_made_earlier_keeps_its_run_and_opens_none(tracker, tmp_path):
    made = track(tracker, tmp_path)
    before = len(runs(tracker))
    again = replace(ORIGIN, dagster_run="run-2")
    with tracker.stage(again, parameters={}, inputs=[]) as run:
        found = run.result(version(tmp_path, "oct/stage1", "b" * 16), {"minutes": 9.0}, "checkpoint")
        assert run.run_id is None
    assert found == made
    assert len(runs(tracker)) == before
    assert tracker.find("oct", version(tmp_path, "oct/stage1", "d" * 16)) is None


def test_a_report_is_found_by_its_own_key(tracker, tmp_path):
    report = replace(ORIGIN, dataset="reports", stage="evaluation_report", asset="evaluation_report")
    made = track(tracker, tmp_path, report)
    assert tracker.find("reports", version(tmp_path, "evaluation_report", "b" * 16)) == made


def test_an_earlier_version_without_a_run_gets_one(tracker, tmp_path):
    with tracker.stage(ORIGIN, parameters={"a": 1}, inputs=[]) as run:
        found = run.result(version(tmp_path, "oct/stage1", "e" * 16), {"minutes": 1.0})
    assert tracker.client.get_run(found).data.params == {"a": "1"}
    assert tracker.find("oct", version(tmp_path, "oct/stage1", "e" * 16)) == found


def test_a_run_whose_body_raises_is_failed(tracker):
    def body():
        with tracker.stage(ORIGIN, parameters={}, inputs=[]) as run:
            run.metrics(1, {"loss": 1.0})
            opened.append(run.run_id)
            raise RuntimeError("diverged")

    opened: list[str] = []
    with pytest.raises(RuntimeError, match="diverged"):
        body()
    assert tracker.client.get_run(opened[0]).info.status == "FAILED"


def test_a_run_left_by_a_killed_process_is_killed_by_the_next(tracker, tmp_path):
    code = """
        import os, signal, sys
        from pathlib import Path
        from pipeline.wiring.tracking import Origin, Tracker
        fixed = {"code_version": "1", "preset": "sample", "seed": 3}
        origin = Origin(dataset="oct", stage="stage1", asset="oct/stage1", dagster_run="run-0", **fixed)
        tracker = Tracker(uri=sys.argv[1], page="", artifacts=Path(sys.argv[2]))
        with tracker.stage(origin, parameters={}, inputs=[]) as run:
            run.metrics(1, {"loss": 1.0})
            print(run.run_id, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), tracker.uri, str(tracker.artifacts)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    run_id = killed.stdout.split()[-1]
    assert tracker.client.get_run(run_id).info.status == "RUNNING"
    track(tracker, tmp_path, replace(ORIGIN, stage="stage2", asset="oct/stage2"))
    assert tracker.client.get_run(run_id).info.status == "RUNNING"  # another stage says nothing of this one
    track(tracker, tmp_path)
    assert tracker.client.get_run(run_id).info.status == "KILLED"


def test_many_parameters_artifacts_and_the_link(tracker, tmp_path):
    made = version(tmp_path, "oct/stage1", "f" * 16)
    made.path.mkdir(parents=True, exist_ok=True)
    (made.path / "roc.txt").write_text("curve")
    with tracker.stage(ORIGIN, parameters={f"p{i}": i for i in range(230)}, inputs=[]) as run:
        run_id = run.result(made, {}, "evaluation")
    found = tracker.client.get_run(run_id)
    assert len(found.data.params) == 230
    assert [item.path for item in tracker.client.list_artifacts(run_id, "evaluation")] == ["evaluation/roc.txt"]
    assert (tmp_path / "mlruns" / "oct").is_dir()
    page = f"http://pages:5000/#/experiments/{found.info.experiment_id}/runs/{run_id}"
    assert tracker.url("oct", run_id) == f"{page}?workflowType=machine_learning"


def test_the_commit_is_that_of_the_checkout():
    assert COMMIT == "unknown" or len(COMMIT.removesuffix("+changes")) == 40


def runs(tracker: Tracker) -> list[str]:
    experiments = [experiment.experiment_id for experiment in tracker.client.search_experiments()]
    return [run.info.run_id for run in tracker.client.search_runs(experiments)]


def test_the_database_appears_whole_and_an_existing_one_stays(tmp_path):
    database = tmp_path / "home" / "mlflow.db"
    tracker = Tracker(uri=f"sqlite:///{database}", page="http://x", artifacts=tmp_path / "runs")
    assert [found.name for found in tracker.client.search_experiments()] == ["Default"]
    assert [path.name for path in database.parent.iterdir()] == ["mlflow.db"]
    inode = database.stat().st_ino
    Tracker(uri=f"sqlite:///{database}", page="http://x", artifacts=tmp_path / "runs").client.create_experiment("own")
    assert database.stat().st_ino == inode
    assert {found.name for found in tracker.client.search_experiments()} == {"Default", "own"}
