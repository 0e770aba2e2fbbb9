"""Manifests whose files are read by workers without a common folder: those of one process, byte for byte."""

import os
import signal
import threading
import time
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from pipeline.data import reading_on_workers
from pipeline.data.manifest import build_manifest
from pipeline.data.raw import RawFolder
from pipeline.data.splits import ImagesConfig
from pipeline.data.user_datasets.dataset import Own
from pipeline.data.walk import head_of
from pipeline.store.versions import Store
from tests.unit.problem_folders import picture
from tests.unit.test_series_and_pairs import NO_WINDOW, outlier, packed
from tests.unit.test_volumes import described
from tests.unit.volume_files import head, nifti, series

pytest.importorskip("moto", reason="no S3 server: pip install 'proxyano[dev]'")
pytest.importorskip("obstore", reason="no client of object stores: pip install 'proxyano[bucket]'")

from pipeline.store.shared import SharedStore

pytestmark = pytest.mark.slow


def ward(top: Path) -> Own:
    """Series whose gray values other files decide on, a pair, volumes with masks, an archive, and damaged files."""
    for number in range(4):
        series(top / "ok" / f"s{number}", outlier(number), f"P{number}", f"1.2.{number + 1}", **NO_WINDOW)
    nibabel.save(nibabel.Nifti1Pair(head(5).T.astype(np.int16), np.diag([2.0, 2, 4, 1])), top / "ok" / "pair.hdr")
    series(top / "zip" / "one", head(6), "Q", "1.3")
    packed(top / "zip", top / "ok" / "more.zip")
    for number in range(7, 11):
        nifti(top / "ok" / f"{number}.nii", head(number))
    (top / "ok" / "cut.nii").write_bytes((top / "ok" / "7.nii").read_bytes()[:5000])
    (top / "ok" / "empty.dcm").write_bytes(b"")
    (top / "ok" / "again.nii").write_bytes((top / "ok" / "8.nii").read_bytes())
    (top / "ok" / "page.png").write_bytes(picture(1))
    for name in ("x", "y"):
        nifti(top / "ill" / f"{name}.nii", head(20, lesion=True) + (name == "y"))
    marks = np.zeros_like(head(20))
    marks[2:4, 20:30, 30:40] = 1
    nifti(top / "masks" / "x.nii", marks)
    nifti(top / "masks" / "y.nii", marks[:3])  # which has other slices than its volume
    return described(top, masks={"lesion": str(top / "masks")}, split={"by": "volume"})


def test_workers_give_the_manifest_of_one_process_and_one_is_killed(url, tmp_path, monkeypatch):
    from distributed import LocalCluster

    own = ward(tmp_path)
    raw, more = RawFolder(own.link_folders()), {"source_version": "1", "code_version": "1"}
    alone, store = Store(tmp_path / "alone"), SharedStore(tmp_path / "shared", url)
    by_threads = build_manifest(raw, own.row, ImagesConfig(), alone, **more)

    def closed(path: Path) -> bytes:
        if path.name == "9.nii":
            raise PermissionError(13, "Permission denied", str(path))
        return head_of(path)

    monkeypatch.setattr(reading_on_workers, "head_of", closed)  # one is not sent
    monkeypatch.setattr(reading_on_workers, "BATCH", 4)
    settings = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**settings, local_directory=str(tmp_path / "workers")) as cluster:

        def kill_one() -> None:
            while not any(name.endswith(".json") for name in store.remote.names("work/ward")):  # one task has ended
                time.sleep(0.02)
            os.kill(cluster.workers[0].pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_one)
        killer.start()
        address = cluster.scheduler_address
        by_workers = build_manifest(
            RawFolder(own.link_folders()), own.row, ImagesConfig(), store, scheduler_address=address, **more
        )
        killer.join()
    assert by_workers.data_version == by_threads.data_version
    assert store.marker(by_workers)["files"] == alone.marker(by_threads)["files"]
    assert store.remote.names("work") == []
    quarantine = pd.read_parquet(by_workers.path / "quarantine.parquet").set_index("path")["reason"]
    assert {"normal/cut.nii", "normal/empty.dcm", "masks/lesion/y.nii"} <= set(quarantine.index)
    images = pd.read_parquet(by_workers.path / "images.parquet")
    assert {path.partition("!/")[0].rpartition("/")[0] for path in images["path"]} >= {"normal", "normal/s0"}
    assert images["gray_values"].str.contains("the series").any()


def test_looks_survive_their_way(idrid):
    from pipeline.data.datasets import IDRID
    from pipeline.data.reading import read_files

    raw = RawFolder(idrid)
    found = read_files(raw, IDRID, IDRID.scan(raw))
    again = reading_on_workers._unpacked(reading_on_workers._packed(found))
    assert str([(row.row, why) for some, why in again for row in some]) == str(
        [(row.row, why) for some, why in found for row in some]
    )
    looks = [[reading.look for some, _ in each for reading in some] for each in (found, again)]
    assert len(looks[0]) == 10
    for one, two in zip(*looks, strict=True):
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one, two, strict=True))
