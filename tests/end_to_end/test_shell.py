"""What a shell needs: the variables that ``activate`` sets, and the MLflow pages served."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_mlflow_pages_are_served(undisturbed):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pipeline.cli", "mlflow", "--port", str(port)]
    log = undisturbed.root / "mlflow.txt"
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=PROJECT, env=undisturbed.environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        end = time.monotonic() + 120
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.5)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    time.sleep(1)
    assert not answers(f"http://127.0.0.1:{port}/health"), "a process of the pages is left"


def answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_activate_sets_what_every_command_needs(tmp_path):
    """In a copy, whose environment is an empty file: what it sets is its own."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    (tmp_path / "pipeline" / "wiring").mkdir(parents=True)
    shutil.copy(PROJECT / "pipeline" / "wiring" / "dagster.yaml", tmp_path / "pipeline" / "wiring")
    for name in ("activate", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    line = ". ./activate && env"
    clean = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=clean, capture_output=True, text=True, check=True, timeout=60
    )
    found = dict(row.split("=", 1) for row in done.stdout.splitlines() if "=" in row)
    assert found["PROXYANO_HOME"] == str(tmp_path / ".proxyano")
    assert found["DAGSTER_HOME"] == str(tmp_path / ".proxyano" / "dagster")
    assert found["DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME"] == "pipeline.definitions"
    assert found["MKL_CBWR"] == "AUTO,STRICT"
    assert found["OMP_WAIT_POLICY"] == "PASSIVE"
    assert found["GLIBC_TUNABLES"].startswith("glibc.malloc.hugetlb=1:")
    assert (tmp_path / ".proxyano" / "dagster" / "dagster.yaml").is_file()
