"""The lane as a user runs it: the command line in its own process, on an instance of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock
from mlflow import MlflowClient

from pipeline.store.versions import Store

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 900.0  # seconds that one command may take on a slow or busy machine


@dataclass(frozen=True)
class Home:
    """One ``PROXYANO_HOME`` with Dagster's and MLflow's databases below it, as ``activate`` makes it."""

    root: Path

    def __post_init__(self) -> None:
        (self.root / "dagster").mkdir(parents=True)
        shutil.copy(PROJECT / "pipeline" / "wiring" / "dagster.yaml", self.root / "dagster")

    @property
    def environment(self) -> dict[str, str]:
        """The variables of ``activate``, one thread a library; nothing else of the caller's settings."""
        foreign = ("PROXYANO_", "DAGSTER_", "MLFLOW_", "DASK_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        kept |= {"PROXYANO_PRESET": "sample"}  # also for data sets of the tests' own
        kept |= {"PROXYANO_HOME": str(self.root), "DAGSTER_HOME": str(self.root / "dagster")}
        kept |= {"DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME": "pipeline.definitions"}
        kept |= {"DAGSTER_DISABLE_TELEMETRY": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
        kept |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # a server starts ten processes for it
        return kept | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

    def start(self, select: str, **variables: str) -> subprocess.Popen[str]:
        """``dagster asset materialize --select …`` in a process group of its own, with these variables."""
        command = [sys.executable, "-m", "dagster", "asset", "materialize", "--select", select]
        with (self.root / "output.txt").open("a") as output:
            return subprocess.Popen(
                command,
                cwd=PROJECT,
                env=self.environment | variables,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def materialize(self, select: str, **variables: str) -> tuple[int, str]:
        """Return code and what the command printed."""
        before = len(self.printed)
        process = self.start(select, **variables)
        try:
            return process.wait(PATIENCE), self.printed[before:]
        finally:
            _end(process)

    def kill_when(self, select: str, ready: Callable[[], bool]) -> None:
        """SIGKILL the command as soon as ``ready`` says so."""
        process = self.start(select)
        try:
            end = time.monotonic() + PATIENCE
            while not ready():
                assert process.poll() is None, f"it ended before it could be killed: {self.printed[-3000:]}"
                assert time.monotonic() < end, f"never ready to be killed: {self.printed[-3000:]}"
                time.sleep(0.002)
        finally:
            _end(process)
        assert process.returncode == -signal.SIGKILL

    @property
    def printed(self) -> str:
        """Output of all commands so far."""
        path = self.root / "output.txt"
        return path.read_text() if path.is_file() else ""

    @property
    def store(self) -> Store:
        return Store(self.root / "stores")

    def versions(self) -> dict[str, str]:
        """Asset → current data version."""
        top = self.root / "stores" / "current"
        return {
            path.relative_to(top).with_suffix("").as_posix(): json.loads(path.read_text())["data_version"]
            for path in sorted(top.rglob("*.json"))
        }

    @property
    def mlflow(self) -> MlflowClient:
        return MlflowClient(tracking_uri=f"sqlite:///{self.root / 'mlflow.db'}")

    def instance(self) -> dg.DagsterInstance:
        """Dagster's instance; close it after use."""
        return dg.DagsterInstance.from_config(str(self.root / "dagster"))


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def make_home(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Home]:
    """Empty homes."""
    return lambda: Home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def undisturbed(make_home: Callable[[], Home], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """The main lane on the built-in sample, run once from nothing by the documented line; another worker copies it."""
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    shared = tmp_path_factory.getbasetemp() if alone else tmp_path_factory.getbasetemp().parent
    home, made = make_home(), shared / "undisturbed"
    with FileLock(shared / "undisturbed.lock"):
        if made.is_dir():
            shutil.copytree(made, home.root, dirs_exist_ok=True)
        else:
            code, printed = home.materialize("*evaluation_report")
            assert code == 0, printed[-6000:]
            if not alone:
                shutil.copytree(home.root, made)
    yield home
    if alone:  # the copies of other workers name files of this home
        shutil.rmtree(home.root)
