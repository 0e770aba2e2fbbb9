"""What a shell needs: the variables that ``activate`` sets, and the MLflow pages served."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect, sync_playwright

PROJECT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium")


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
        if CHROMIUM:
            link = re.search(rf"^oct: (http://127.0.0.1:{port}/\S+)$", log.read_text(), re.MULTILINE)
            assert link, log.read_text()[:2000]
            shows_runs_side_by_side(link[1])
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    time.sleep(1)
    assert not answers(f"http://127.0.0.1:{port}/health"), "a process of the pages is left"


def shows_runs_side_by_side(address: str) -> None:
    """The printed page opens as model training, with the columns that people compare."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        page.goto(address)
        expect(page.get_by_text("oct sample seed 0")).to_be_visible(timeout=60_000)
        expect(page.get_by_text("image_auroc_standardised")).to_be_visible()
        browser.close()


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
    for name in ("dagster.yaml", "postgres.yaml"):
        shutil.copy(PROJECT / "pipeline" / "wiring" / name, tmp_path / "pipeline" / "wiring")
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
    assert "PROXYANO_DATABASE" not in (tmp_path / ".proxyano" / "dagster" / "dagster.yaml").read_text()
    postgres = {
        "PROXYANO_HOME": str(tmp_path / "other"),
        "PROXYANO_DATABASE": "postgresql+psycopg2://me:secret@host/name",
    }
    subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=clean | postgres, capture_output=True, check=True, timeout=60
    )
    written = (tmp_path / "other" / "dagster" / "dagster.yaml").read_text()
    assert "env: PROXYANO_DATABASE" in written
    assert "secret" not in written
