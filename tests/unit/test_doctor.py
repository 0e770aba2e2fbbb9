"""``proxyano doctor``: each finding on the real thing, in order and out of order; nothing is made by asking."""

import functools
import json
import sqlite3
import tarfile
import threading
import time
import zipfile
from contextlib import closing
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.data.datasets import BRAIN_MRI, OCT
from pipeline.data.raw import RawFolder
from pipeline.wiring import doctor_checks as doctor
from pipeline.wiring import doctor_remote

WIRING = Path(__file__).resolve().parents[2] / "pipeline" / "wiring"
YAML = (WIRING / "dagster.yaml").read_text()


def everything(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def test_versions_outside_their_ranges_and_missing_packages_are_named():
    wanted = ["rich>=1", "typer<0.1", "no-such-package>=1", 'nor-this-one; extra == "dev"']
    found = doctor.packages(wanted)
    assert found.state == "problem"
    assert found.found.startswith("typer 0.")
    assert found.found.endswith(", wanted <0.1; no-such-package is missing")
    assert doctor.packages(["rich>=1"]).found == "1 within their ranges"
    assert doctor.python().state == "ok"


def test_a_home_that_is_not_made_yet_is_fine_and_stays_unmade(tmp_path):
    found = doctor.home(tmp_path / "a" / "home")
    assert found.state in ("ok", "warn")  # by the room on the disk
    assert found.found.endswith("not made yet")
    assert everything(tmp_path) == []


def test_a_home_below_a_file_is_a_problem(tmp_path):
    (tmp_path / "file").write_text("")
    assert doctor.home(tmp_path / "file" / "home").state == "problem"


@pytest.mark.parametrize(("needed", "state"), [("LITTLE_DISK", "warn"), ("NO_DISK", "problem")])
def test_little_room_is_told(tmp_path, monkeypatch, needed, state):
    monkeypatch.setattr(doctor, "LITTLE_DISK", 1e30)
    monkeypatch.setattr(doctor, needed, 1e30)
    assert doctor.home(tmp_path).state == state


def brain(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_raw_data_is_counted_without_reading_an_image(tmp_path, monkeypatch):
    brain(tmp_path, "Training/no_tumor/1.jpg", "Training/glioma_tumor/1.jpg", "Testing/glioma_tumor/1.jpg")
    brain(tmp_path, "copy/Training/no_tumor/1.jpg")  # a twin by name, of another size
    monkeypatch.setattr(RawFolder, "read", lambda *_: pytest.fail("an image was read"))
    found = doctor.raw(BRAIN_MRI, tmp_path, tmp_path / "cache", sample=False)
    assert (found.state, found.found) == ("ok", f"2 normal and 2 abnormal images in {tmp_path}")


def test_twins_of_one_size_count_once(tmp_path):
    brain(tmp_path, "Testing/glioma_tumor/1.jpg", "a/Training/no_tumor/1.jpg", "b/Training/no_tumor/1.jpg")
    assert doctor.raw(BRAIN_MRI, tmp_path, tmp_path / "cache", sample=False).found.startswith("1 normal and 1 abnormal")


def test_raw_data_that_is_missing_says_how_to_get_it(tmp_path):
    found = doctor.raw(OCT, tmp_path / "oct", tmp_path / "cache", sample=False)
    assert (found.state, found.remedy) == ("problem", "proxyano download oct --check says what is missing")
    brain(tmp_path, "Training/no_tumor/1.jpg")
    assert doctor.raw(BRAIN_MRI, tmp_path, tmp_path / "cache", sample=False).state == "problem"
    assert doctor.raw(OCT, tmp_path / "oct", tmp_path / "cache", sample=True).state == "ok"


def test_a_packed_archive_is_not_inflated_but_counted_once_it_was(tmp_path):
    for klass in ("NORMAL", "CNV"):
        brain(tmp_path, f"x/test/{klass}/{klass}-1-1.jpeg")
    (tmp_path / "raw").mkdir()
    with tarfile.open(tmp_path / "raw" / "OCT2017.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "x", arcname="OCT2017")
    before = everything(tmp_path)
    found = doctor.raw(OCT, tmp_path / "raw", tmp_path / "cache", sample=False)
    assert found.state == "ok"
    assert "OCT2017.tar.gz lies packed, not counted" in found.found
    assert everything(tmp_path) == before
    RawFolder(tmp_path / "raw", tmp_path / "cache").paths()  # as a lane does
    assert doctor.raw(OCT, tmp_path / "raw", tmp_path / "cache", sample=False).found.startswith("1 normal and 1 abn")


def test_a_broken_archive_is_a_problem_where_nothing_else_is_there(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK no archive")
    found = doctor.raw(BRAIN_MRI, tmp_path, tmp_path / "cache", sample=False)
    assert (found.state, found.remedy) == ("problem", "download a.zip again")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("Training/no_tumor/1.jpg", b"a")
        archive.writestr("Training/glioma_tumor/1.jpg", b"b")
    assert doctor.raw(BRAIN_MRI, tmp_path, tmp_path / "cache", sample=False).state == "warn"


def test_a_preset_for_a_gpu_is_warned_of_on_a_cpu():
    import torch

    found = doctor.hardware(wants_gpu=True)
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    assert found.state == ("ok" if gpu else "warn")
    assert "memory free" in found.found


def test_the_tracking_database_is_read_and_never_made(tmp_path):
    path = tmp_path / "mlflow.db"
    uri = f"sqlite:///{path}"
    assert doctor.tracking(uri).found == f"{path}, made by the first run"
    assert everything(tmp_path) == []
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE runs (id)")
        database.execute("INSERT INTO runs VALUES (1)")
        database.commit()
    assert doctor.tracking(uri) == doctor.Finding(name="MLflow", state="ok", found=f"{path}, 1 runs")
    path.write_bytes(b"no database" * 100)
    assert doctor.tracking(uri).state == "problem"
    other = doctor.tracking("mysql://me:secret@somewhere/mlflow")
    assert (other.state, other.found) == ("warn", "mysql://me:***@somewhere/mlflow is not checked")
    path.write_bytes(b"")  # what a kill leaves: no tables
    assert "no such table" in doctor.tracking(uri).found


def test_a_tracking_server_is_asked(tmp_path):
    (tmp_path / "health").write_text("OK")
    silent = type("Silent", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(silent, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    uri = f"http://127.0.0.1:{server.server_port}"
    good, other = doctor.tracking(f"{uri}/"), doctor.tracking(f"{uri}/elsewhere")
    server.shutdown()
    thread.join()
    server.server_close()
    assert (good.state, other.state) == ("ok", "problem")
    assert other.found == f"{uri}/elsewhere answers HTTP 404"
    assert doctor.tracking(uri).found == f"{uri} does not answer: ConnectionError"


def test_an_instance_is_opened_where_there_is_one_and_not_made_where_there_is_none(tmp_path):
    (tmp_path / "dagster.yaml").write_text(YAML)
    assert doctor.dagster(tmp_path).found == f"{tmp_path}, made by the first run"
    assert everything(tmp_path) == [str(tmp_path / "dagster.yaml")]
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        instance.get_runs_count()
    before = everything(tmp_path)
    assert [str(tmp_path / name) in before for name in doctor.DAGSTER_FILES] == [True] * 3
    assert doctor.dagster(tmp_path) == doctor.Finding(name="Dagster", state="ok", found=f"{tmp_path}, 0 runs")
    assert everything(tmp_path) == before
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    assert doctor.dagster(tmp_path).state == "warn"
    index = tmp_path / "history" / "runs" / "index.db"
    whole = index.read_bytes()
    index.write_bytes(whole[:4096] + b"\xff" * 8192 + whole[12288:])  # two pages, which counting the runs does not read
    assert doctor.dagster(tmp_path).state == "problem"
    index.write_bytes(whole)
    (tmp_path / "history" / "runs.db").write_bytes(b"no database" * 100)
    assert doctor.dagster(tmp_path).state == "problem"


def test_an_instance_that_cannot_be_looked_into_says_so(tmp_path):
    (tmp_path / "dagster.yaml").write_text("storage:\n  postgres: {}\n")
    assert doctor.dagster(tmp_path).remedy == "dagster instance info"
    assert doctor.dagster(Path("relative")).state == "problem"


def test_a_database_server_that_cannot_be_used_says_why_and_shows_no_password(tmp_path, monkeypatch):
    address = "me:s/e:cret%40@127.0.0.1:9/dagster"
    monkeypatch.setenv("PROXYANO_DATABASE", f"postgresql+psycopg2://{address}")
    silent, wrong = doctor.dagster(tmp_path), doctor.tracking(f"postgresql://{address}")
    assert silent.found.startswith("postgresql+psycopg2://me:***@127.0.0.1:9/dagster does not answer: ")
    assert wrong.remedy == "write postgresql+psycopg2://user:password@host/name"
    (tmp_path / "dagster.yaml").write_text(YAML)
    unused = doctor.dagster(tmp_path)
    assert unused.remedy == f"rm '{tmp_path / 'dagster.yaml'}': it is renewed"
    assert [found.state for found in (silent, wrong, unused)] == ["problem"] * 3
    assert not any("cret" in found.found for found in (silent, wrong, unused))
    (tmp_path / "dagster.yaml").write_text(YAML + (WIRING / "postgres.yaml").read_text())
    monkeypatch.delenv("PROXYANO_DATABASE")
    assert doctor.dagster(tmp_path).found == "PROXYANO_DATABASE is empty"


def test_a_cluster_is_asked_for_its_workers():
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster:
        assert doctor_remote.cluster(cluster.scheduler_address).found.endswith("has no workers")
        cluster.scale(1)
        cluster.wait_for_workers(1)
        found = doctor_remote.cluster(cluster.scheduler_address)
        assert (found.state, found.found) == ("ok", f"{cluster.scheduler_address}, 1 workers")


def test_a_cluster_that_does_not_answer_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor_remote, "_TIMEOUT", 0.2)
    began = time.monotonic()
    assert doctor_remote.cluster("tcp://127.0.0.1:9").state == "problem"
    assert time.monotonic() - began < 2


@pytest.fixture
def examined(monkeypatch, tmp_path):
    """Call the command in an empty folder; exit code and output."""

    def run(*words, **variables):
        for name in ("RAW", "PRESET", "SEED", "PROTOCOL"):
            monkeypatch.delenv(f"PROXYANO_{name}", raising=False)
        for name in ("DAGSTER_HOME", "MLFLOW_TRACKING_URI", "DASK_SCHEDULER_ADDRESS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in ({"PROXYANO_HOME": str(tmp_path / "home")} | variables).items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(app, ["doctor", *words])
        assert isinstance(result.exception, SystemExit | None), result.exception
        return result.exit_code, result.output

    return run


def test_a_fresh_machine_is_well_and_stays_fresh(examined, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "LITTLE_DISK", 0)
    code, said = examined()
    assert code == 0, said
    for name in ("Python", "packages", "PROXYANO_HOME", "preset", "raw idrid", "hardware", "Dagster", "MLflow"):
        assert f" {name} " in said
    assert everything(tmp_path) == []


def test_problems_are_told_to_scripts(examined, tmp_path):
    code, said = examined("--json", PROXYANO_RAW=str(tmp_path / "raw"), PROXYANO_PRESET="huge")
    found = json.loads(said)
    states = {row["name"]: row["state"] for row in found["findings"]}
    assert (code, found["ok"], states["preset"], states["raw oct"]) == (1, False, "problem", "problem")
    assert all(row["remedy"] for row in found["findings"] if row["state"] != "ok")


def test_own_data_sets_are_looked_at(examined, tmp_path):
    folder = tmp_path / "home" / "datasets"
    folder.mkdir(parents=True)
    (tmp_path / "normal").mkdir()
    for name, text in {"good": f"normal: {tmp_path}/normal", "gone": "normal: /nope", "torn": "normal: ["}.items():
        (folder / f"{name}.yaml").write_text(text)
    _, said = examined("--json")
    states = {row["name"]: row["state"] for row in json.loads(said)["findings"]}
    assert [states[f"own {name}"] for name in ("good", "gone", "torn")] == ["ok", "problem", "problem"]


def test_a_variable_that_cannot_be_read_is_a_finding(examined):
    code, said = examined(PROXYANO_SEED="-1")
    assert code == 1
    assert "PROXYANO_SEED" in said
    assert "got '-1'" in said
