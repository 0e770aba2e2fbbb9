"""``proxyano score`` by workers without a common folder: tables and overlays of one process, after kills, too."""

import os
import shutil
import signal
import threading
import time
import zipfile
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.store.files import hash_folder
from tests.unit.drawn_detectors import draw, drawn_image, freeze
from tests.unit.test_series_and_pairs import NO_WINDOW, outlier
from tests.unit.volume_files import head, nifti, series

pytest.importorskip("moto", reason="no S3 server: pip install 'proxyano[dev]'")
pytest.importorskip("obstore", reason="no client of object stores: pip install 'proxyano[bucket]'")

from pipeline.detectors.folder import scoring_on_workers, sending
from pipeline.detectors.folder.output import ScoreFolder
from pipeline.store.shared import SharedStore

pytestmark = pytest.mark.slow


@pytest.fixture
def home(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedStore:
    """The store of a home that shares a detector of drawn images."""
    made = freeze(draw(tmp_path), tmp_path / "made", ["proxyano", "pca"])
    monkeypatch.setenv("PROXYANO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PROXYANO_STORE", url)
    store = SharedStore(tmp_path / "home" / "stores", url)
    work = store.work(made.asset, "a" * 16)
    shutil.copytree(made.path, work / "content", ignore=shutil.ignore_patterns("COMPLETE.json"))
    store.point(store.publish(made.asset, work / "content", made.data_version, {}))
    return store


def clinic(top: Path) -> Path:
    """Images, two of one content, volumes, a series, a pair, an archive, and files that cannot be used."""
    for number in range(14):
        (top / f"{number % 2}").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(top / f"{number % 2}" / f"{number:02d}.png"), drawn_image(number))
    shutil.copyfile(top / "0" / "00.png", top / "1" / "00.png")
    series(top / "series", outlier(1), "P", "1.2", **NO_WINDOW)
    nifti(top / "volume.nii", head(2))
    nibabel.save(nibabel.Nifti1Pair(head(3).T.astype(np.int16), np.diag([2.0, 2, 4, 1])), top / "pair.hdr")
    (top / os.fsdecode(b"M\xfcller.png")).write_bytes((top / "0" / "02.png").read_bytes())
    (top / "broken.png").write_bytes(b"no picture")
    (top / "gone.png").symlink_to(top / "nothing.png")
    with zipfile.ZipFile(top / "more.zip", "w") as archive:
        for name in ("a/one.png", "two.png"):
            archive.write(top / "1" / "01.png", name)
        archive.writestr("three.png", b"no picture")
        archive.writestr("deep.rar", b"x")
    return top


def score(folder: Path, out: Path) -> Result:
    words = ["score", str(folder), "--dataset", "oct", "--out", str(out), "--format", "csv", "--format", "parquet"]
    return CliRunner().invoke(app, [*words, "--false-alarm-rate", "0.4", "--yes"])


def told(done: Result) -> set[str]:
    return {line for line in done.stderr.splitlines() if "cannot" in line or "No such" in line}


def test_workers_score_as_one_process_one_is_killed_and_a_cut_run_goes_on(home, tmp_path, monkeypatch):
    from distributed import LocalCluster

    folder = clinic(tmp_path / "clinic")
    alone = score(folder, tmp_path / "alone")
    assert alone.exit_code == 3, alone.output
    monkeypatch.setattr(sending, "BATCH", 4)
    monkeypatch.setattr(scoring_on_workers, "ROUND", 12)
    settings = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**settings, local_directory=str(tmp_path / "workers")) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)

        def kill_one() -> None:
            while not any(name.endswith(".json") for name in home.remote.names("work/oct/scores")):
                time.sleep(0.02)
            os.kill(cluster.workers[0].pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_one)
        killer.start()
        written, write = [], ScoreFolder.write

        def cut(self, rows):
            if len(written) == 15:
                raise KeyboardInterrupt
            written.append(rows)
            return write(self, rows)

        with monkeypatch.context() as patched:
            patched.setattr(ScoreFolder, "write", cut)
            assert score(folder, tmp_path / "shared").exit_code == 130
        killer.join()
        assert home.remote.names("work/oct/scores")
        done = score(folder, tmp_path / "shared")
        homes = list((tmp_path / "workers").rglob("detector.json"))
    assert homes, "no worker fetched the detector into a home of its own"
    assert done.exit_code == 3, done.output
    assert "resuming" in done.stderr
    assert told(done) == told(alone)
    assert hash_folder(tmp_path / "shared") == hash_folder(tmp_path / "alone")
    assert len(hash_folder(tmp_path / "alone")) > 30
    assert home.remote.names("work") == []
    assert not any(path.is_file() for path in (home.root / "work").rglob("*"))
