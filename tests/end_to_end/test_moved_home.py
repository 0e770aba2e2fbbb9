"""A home that was copied or moved, or that tracks on a server: artifacts are found, the old place stays as it was."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path
from urllib.request import urlopen

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image

from pipeline.wiring.tracking import Tracker

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


def page_of_summary(home, root: Path) -> Path:
    """The page that ``proxyano summary`` names."""
    (page,) = re.findall(r"^Page: (.+)$", proxyano(home, root, "summary"), re.MULTILINE)
    return Path(page)


def change(root: Path) -> None:
    """Change the pixels of one test image, so that an evaluation and the report are made and logged."""
    path = sorted((root / "sample" / "brain_mri").rglob("glioma_tumor/*.jpg"))[0]
    pixels = np.asarray(Image.open(path).convert("L"), np.int16)
    Image.fromarray(np.clip(pixels + 3, 0, 255).astype(np.uint8)).save(path, quality=95)


def reports(client: MlflowClient) -> set[str]:
    """Places of the artifacts of every run that made the report."""
    experiment = client.get_experiment_by_name("reports")
    runs = client.search_runs([experiment.experiment_id], "tags.`dagster.asset_key` = 'evaluation_report'")
    return {run.info.artifact_uri for run in runs}


def test_a_copied_and_then_moved_home_uses_its_own_place(undisturbed, tmp_path):
    before = files(undisturbed.root)
    place = tmp_path / "copy"
    shutil.copytree(undisturbed.root, place)
    change(place)
    proxyano(undisturbed, place, "refresh")
    stored = reports(MlflowClient(tracking_uri=f"sqlite:///{place / 'mlflow.db'}"))
    assert len(stored) == 2
    for uri in stored:
        assert uri.startswith((place / "mlruns").as_uri())
        assert (Path(uri.removeprefix("file://")) / "report" / "index.html").is_file()
    assert files(undisturbed.root) == before

    moved = place.rename(tmp_path / "moved")
    assert "match" in proxyano(undisturbed, moved, "lineage", "evaluation_report", "--verify")
    assert "Everything is up to date" in proxyano(undisturbed, moved, "refresh")
    assert not place.exists()
    bookmarked = moved / "reports" / "evaluation_report" / "index.html"
    assert page_of_summary(undisturbed, moved) == bookmarked
    bookmarked.write_text("of an earlier report")  # as in a home that has fetched a newer one from a bucket
    page = page_of_summary(undisturbed, moved)
    assert page.is_relative_to(moved / "stores")
    assert page.is_file()
    client = Tracker(uri=f"sqlite:///{moved / 'mlflow.db'}", page="", artifacts=moved / "mlruns").client
    assert all(uri.startswith((moved / "mlruns").as_uri()) for uri in reports(client))
    version = client.get_model_version_by_alias("proxyano-oct", "champion")
    source = client.get_model_version_download_uri(version.name, version.version)
    assert source.startswith((moved / "mlruns").as_uri())
    image = next((moved / "sample").rglob("oct/**/test/**/*.jpeg")).read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about MLflow's own classes
        served = mlflow.pyfunc.load_model(source).predict(pd.DataFrame({"image": [image]}))
    assert served["score"].notna().all()


def test_a_home_that_tracks_on_a_server_keeps_its_artifacts_there_when_it_moves(undisturbed, tmp_path):
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
        place = tmp_path / "home"
        shutil.copytree(undisturbed.root, place)
        before = files(place / "mlruns")
        shutil.rmtree(place / "stores" / "versions" / "evaluation_report")  # it alone is made and logged
        proxyano(undisturbed, place, "refresh", MLFLOW_TRACKING_URI=address)
        (stored,) = reports(MlflowClient(tracking_uri=address))
        assert stored.startswith("mlflow-artifacts:")
        assert len(list((kept / "files").rglob("report/index.html"))) == 1
        moved = place.rename(tmp_path / "moved")
        verified = proxyano(undisturbed, moved, "lineage", "evaluation_report", "--verify", MLFLOW_TRACKING_URI=address)
        assert "match" in verified
        again = proxyano(undisturbed, moved, "refresh", MLFLOW_TRACKING_URI=address)
        assert "Everything is up to date" in again
        assert files(moved / "mlruns") == before
        assert not place.exists()
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
