"""A home that was copied or moved, or that tracks on a server: artifacts are found, the old place stays as it was."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Every file of a folder with its size and time."""
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def proxyano(home, root: Path, *words: str, **more: str) -> str:
    """What the command prints with that home; it must succeed."""
    environment = home.environment | {"PROXYANO_HOME": str(root), "DAGSTER_HOME": str(root / "dagster")} | more
    line = [sys.executable, "-m", "pipeline.cli", *words]
    done = subprocess.run(line, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def without_report(root: Path) -> None:
    """Forget the report, so that the next refresh makes and logs it."""
    for name in ("versions", "current", "notes"):
        for path in (root / "stores" / name).glob("evaluation_report*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def newest_report(client: MlflowClient) -> str:
    """Place of the artifacts of the newest report's run."""
    experiment = client.get_experiment_by_name("reports")
    run, *_ = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    return run.info.artifact_uri


def test_a_copied_and_a_moved_home_use_their_own_place(undisturbed, tmp_path):
    before = files(undisturbed.root)
    root = tmp_path / "copy"
    shutil.copytree(undisturbed.root, root)
    for place in (root, tmp_path / "moved"):
        if place != root:
            root.rename(place)
        without_report(place)
        proxyano(undisturbed, place, "refresh", "--select", "evaluation_report")
        client = MlflowClient(tracking_uri=f"sqlite:///{place / 'mlflow.db'}")
        stored = newest_report(client)
        assert stored.startswith((place / "mlruns").as_uri())
        assert (Path(stored.removeprefix("file://")) / "report" / "index.html").is_file()
        version = client.get_model_version_by_alias("proxyano-oct", "champion")
        source = client.get_model_version_download_uri(version.name, version.version)
        assert source.startswith((place / "mlruns").as_uri())
        image = next((place / "sample").rglob("oct/**/test/**/*.jpeg")).read_bytes()
        served = mlflow.pyfunc.load_model(source)
        assert served.predict(pd.DataFrame({"image": [image]}))["score"].notna().all()
        assert "match" in proxyano(undisturbed, place, "lineage", "evaluation_report", "--verify")
    assert files(undisturbed.root) == before


def test_a_home_that_tracks_on_a_server_finds_its_artifacts_after_a_move(undisturbed, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, kept = f"http://127.0.0.1:{port}", tmp_path / "server"
    kept.mkdir()
    line = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    line += ["--backend-store-uri", f"sqlite:///{kept / 'server.db'}", "--artifacts-destination", str(kept / "files")]
    with (kept / "log.txt").open("w") as log:
        server = subprocess.Popen(line, stdout=log, stderr=log, env=undisturbed.environment, start_new_session=True)
    try:
        end = time.monotonic() + 180
        while not answers(f"{address}/health"):
            assert server.poll() is None, (kept / "log.txt").read_text()[-2000:]
            assert time.monotonic() < end, (kept / "log.txt").read_text()[-2000:]
            time.sleep(0.5)
        root = tmp_path / "home"
        shutil.copytree(undisturbed.root, root)
        before = files(root / "mlruns")
        client = MlflowClient(tracking_uri=address)
        seen = set()
        for place in (root, tmp_path / "moved"):
            if place != root:
                root.rename(place)
            without_report(place)
            proxyano(undisturbed, place, "refresh", "--select", "evaluation_report", MLFLOW_TRACKING_URI=address)
            stored = newest_report(client)
            assert stored.startswith("mlflow-artifacts:")
            seen.add(stored)
            assert files(place / "mlruns") == before
        assert len(seen) == 2
        pages = list((kept / "files").rglob("report/index.html"))
        assert len(pages) == 2
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def answers(url: str) -> bool:
    """Whether a page can be fetched."""
    try:
        with urlopen(url, timeout=5) as page:
            return page.status == 200
    except OSError:
        return False
