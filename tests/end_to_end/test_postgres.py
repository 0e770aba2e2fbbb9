"""Dagster and MLflow on a real PostgreSQL: lanes side by side give the versions of one process on SQLite."""

import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from benchmarks.postgres import PASSWORD, binaries, server
from pipeline.wiring import doctor_checks as doctor
from pipeline.wiring.runs import PROCESS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(binaries() is None, reason="no PostgreSQL on this machine: apt-get install postgresql"),
]
PROJECT = Path(__file__).resolve().parents[2]
MADE = ("brain_mri/detector", "oct/detector")
REGISTERED = "oct/evaluation"


def kept_by_dagster(address: str) -> Iterator[str]:
    """All texts of jobs, events and runs."""
    with sa.create_engine(address, poolclass=sa.NullPool).connect() as found:
        for (body,) in found.execute(sa.text("SELECT snapshot_body FROM snapshots")):
            yield zlib.decompress(bytes(body)).decode()
        for table, column in (("event_logs", "event"), ("runs", "run_body")):
            yield from found.scalars(sa.text(f"SELECT {column} FROM {table}"))


@pytest.mark.timeout(600)
def test_lanes_side_by_side_on_postgres_give_the_versions_of_one_process_on_sqlite(undisturbed, make_home, monkeypatch):
    """Detectors of two lanes from the stages below, which are copied, and the registration of one in MLflow.

    Whole lanes take minutes: ``benchmarks/kills_postgres.py``.
    """
    home = make_home()
    for folder in ("sample", "stores"):
        shutil.copytree(undisturbed.root / folder, home.root / folder)
    for asset in MADE:
        shutil.rmtree(home.root / "stores" / "versions" / asset)
        (home.root / "stores" / "current" / f"{asset}.json").unlink()
    with (home.root / "dagster" / "dagster.yaml").open("a") as settings:  # as ./activate writes it
        settings.write((PROJECT / "pipeline" / "wiring" / "postgres.yaml").read_text())
    select = ",".join([*MADE, REGISTERED])
    with server() as postgres:
        code, printed = home.materialize(select, PROXYANO_EXECUTOR="multiprocess", **postgres.environment())
        assert code == 0, printed[-3000:]
        assert home.versions() == undisturbed.versions()
        for name, address in postgres.environment().items():
            monkeypatch.setenv(name, address)
        assert doctor.dagster(home.root / "dagster").found.endswith("/dagster, 1 runs")
        assert doctor.tracking(postgres.address("mlflow")).state == "ok"

        with home.instance() as instance:
            (run,) = instance.get_runs()
            started = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_WORKER_STARTED)
        steps = {one.dagster_event.pid for one in started}
        assert len(steps) == len(MADE) + 1
        assert int(run.tags[PROCESS].split("/")[1]) not in steps, "the process of a step ends before its run"

        client = MlflowClient(tracking_uri=postgres.address("mlflow"))
        (model,) = client.search_model_versions("name = 'proxyano-oct'")
        assert client.get_model_version_by_alias(model.name, "champion").version == model.version
        place = (home.root / "mlruns" / "oct").as_uri()
        assert model.source.startswith(f"{place}/{model.run_id}/artifacts/model-")
        assert client.list_artifacts(model.run_id, model.source.rpartition("/")[2])
        told = "\n".join(kept_by_dagster(postgres.address("dagster"))) + printed
        assert "MLFLOW_TRACKING_URI" in told
        assert PASSWORD not in told
        assert "%2F" not in told  # as in the address
    shutil.rmtree(home.root)
