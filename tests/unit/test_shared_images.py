"""Manifests and scored folders by workers without a common folder: those of one process, byte for byte, after kills."""

import errno
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import nibabel
import numpy as np
import pandas as pd
import pytest
import zarr
from typer.testing import CliRunner, Result

from benchmarks.object_server import variables
from pipeline.cli import app
from pipeline.data import reading_on_workers
from pipeline.data.datasets import IDRID, OCT
from pipeline.data.manifest import build_manifest
from pipeline.data.raw import RawFolder
from pipeline.data.reading import read_files
from pipeline.data.splits import ImagesConfig
from pipeline.data.user_datasets.dataset import Own
from pipeline.data.walk import head_of
from pipeline.detectors.frozen.freeze import DetectorPlan
from pipeline.detectors.standardise import OWN
from pipeline.evaluation.carried import Carried
from pipeline.evaluation.scoreboard import LaneInputs, Scoreboard
from pipeline.evaluation.scoring import ScoringPlan, score_lane
from pipeline.forms.form import TILE
from pipeline.store.files import hash_file, hash_folder
from pipeline.store.shards import create, open_array, run_tasks, write_rows
from pipeline.store.versions import Store, Version
from pipeline.tiles.cutting import Cutter
from pipeline.tiles.tiles import build_tiles
from tests.unit.drawn_detectors import CANVAS, FIRST_TEST, SCORE, SPLITS, control, draw, drawn_image, freeze
from tests.unit.drawn_tiles import CONFIG as TILES
from tests.unit.drawn_tiles import Corners, Eyes, make_inputs
from tests.unit.dying_workers import run_dying
from tests.unit.problem_folders import picture
from tests.unit.test_series_and_pairs import NO_WINDOW, outlier, packed
from tests.unit.test_volumes import described
from tests.unit.volume_files import head, nifti, series

pytest.importorskip("moto", reason="no S3 server: pip install 'proxyano[dev]'")
pytest.importorskip("obstore", reason="no client of object stores: pip install 'proxyano[bucket]'")

from pipeline.detectors.folder import scoring_on_workers, sending
from pipeline.detectors.folder.output import ScoreFolder
from pipeline.evaluation import scoring_on_workers as measuring
from pipeline.store import workers
from pipeline.store.shared import SharedStore

if TYPE_CHECKING:
    from distributed import LocalCluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(object_server: int, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[LocalCluster]":
    """A cluster of two workers: where one dies, the other goes on."""
    from distributed import LocalCluster

    folder = str(tmp_path_factory.mktemp("workers"))
    with pytest.MonkeyPatch.context() as patched:
        for name, value in variables(object_server).items():
            patched.setenv(name, value)
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", local_directory=folder) as started:
            yield started


def shared(store: SharedStore, version: Version) -> Version:
    """The same version in the bucket."""
    work = store.work(version.asset, "a" * 16)
    shutil.copytree(version.path, work / "content", ignore=shutil.ignore_patterns("COMPLETE.json"))
    return store.publish(version.asset, work / "content", version.data_version, version.meta)


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


def test_workers_give_the_manifest_of_one_process_and_one_is_killed(cluster, url, tmp_path, monkeypatch):
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
    monkeypatch.setattr(reading_on_workers, "run_tasks", partial(run_dying, tmp_path / "died"))
    again, address = RawFolder(own.link_folders()), cluster.scheduler_address
    by_workers = build_manifest(again, own.row, ImagesConfig(), store, scheduler_address=address, **more)
    assert (tmp_path / "died").exists()
    assert by_workers.data_version == by_threads.data_version
    assert store.marker(by_workers)["files"] == alone.marker(by_threads)["files"]
    assert store.remote.names("work") == []
    quarantine = pd.read_parquet(by_workers.path / "quarantine.parquet").set_index("path")["reason"]
    assert {"normal/cut.nii", "normal/empty.dcm", "masks/lesion/y.nii"} <= set(quarantine.index)
    images = pd.read_parquet(by_workers.path / "images.parquet")
    assert {path.partition("!/")[0].rpartition("/")[0] for path in images["path"]} >= {"normal", "normal/s0"}
    assert images["gray_values"].str.contains("the series").any()


def size(name: str, *, files: Path) -> int:
    """Bytes of a file that was sent; -1 where it was not."""
    return (files / name).stat().st_size if (files / name).exists() else -1


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_sent(cluster, url, tmp_path, monkeypatch, caplog):
    for name in ("good", "broken"):
        (tmp_path / name).write_text(name)

    def hashed(path: Path) -> dict[str, object]:
        if path.name == "broken":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return hash_file(path)

    monkeypatch.setattr(workers, "hash_file", hashed)
    store = SharedStore(tmp_path / "home", url)
    run = partial(run_tasks, title="sizes", scheduler_address=cluster.scheduler_address)
    with store.building("oct/tiles", "a" * 16) as work:
        needs = [{name: tmp_path / name} for name in ("good", "broken")]
        task = partial(size, files=work / workers.NEEDS)
        assert workers.spread(store, task, ["good", "broken"], work, run, needs) == [4, -1]
    assert f"{tmp_path / 'broken'} cannot be read: Input/output error" in caplog.text


def test_looks_survive_their_way(idrid):
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


def test_images_of_an_archive_are_cut_by_one_task_which_fetches_it_once(cluster, url, tmp_path):
    drawn = make_inputs(tmp_path)
    (tmp_path / "packed").mkdir()
    raw = RawFolder(packed(tmp_path / "raw", tmp_path / "packed" / "raw.zip").parent)
    table = pd.read_parquet(drawn.path / "images.parquet")
    masks = table["masks"].str.replace('": "', '": "raw.zip!/')
    table.assign(path="raw.zip!/" + table["path"], masks=masks).to_parquet(drawn.path / "images.parquet")
    alone, store = Store(tmp_path / "alone"), SharedStore(tmp_path / "shared", url)
    inputs = (drawn, raw, Eyes(), Corners(), TILES)
    by_workers, by_threads = (
        build_tiles(*inputs, store, code_version="1", scheduler_address=cluster.scheduler_address),
        build_tiles(*inputs, alone, code_version="1"),
    )
    assert by_workers.data_version == by_threads.data_version
    assert store.marker(by_workers)["files"] == alone.marker(by_threads)["files"]
    cutter = Cutter(raw=raw, form=Corners(), lesions=(), parts=tmp_path)
    ((task, needed),) = cutter._joined(cutter._tasks(pd.read_parquet(drawn.path / "images.parquet").to_dict("records")))
    assert [len(batch) for batch in task] == [8, 8, 5]
    assert set(needed) == {"raw.zip"}


@pytest.fixture
def home(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedStore:
    """The store of a home that shares a detector of drawn images."""
    made = freeze(draw(tmp_path), tmp_path / "made", ["proxyano", "pca"])
    monkeypatch.setenv("PROXYANO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PROXYANO_STORE", url)
    store = SharedStore(tmp_path / "home" / "stores", url)
    store.point(shared(store, made))
    return store


def clinic(top: Path) -> Path:
    """Images, two of one content, volumes, a series, a pair, an archive, and files that cannot be used."""
    for number in range(8):
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


def test_workers_score_as_one_process_one_is_killed_and_a_cut_run_goes_on(cluster, home, tmp_path, monkeypatch):
    folder = clinic(tmp_path / "clinic")
    alone = score(folder, tmp_path / "alone")
    assert alone.exit_code == 3, alone.output
    monkeypatch.setattr(sending, "BATCH", 4)
    monkeypatch.setattr(scoring_on_workers, "ROUND", 12)
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
    monkeypatch.setattr(scoring_on_workers, "run_tasks", partial(run_dying, tmp_path / "died"))
    written, write = [], ScoreFolder.write

    def cut(self, rows):
        if len(written) == 15:
            raise KeyboardInterrupt
        written.append(rows)
        return write(self, rows)

    with monkeypatch.context() as patched:
        patched.setattr(ScoreFolder, "write", cut)
        begun = score(folder, tmp_path / "shared")
    assert begun.exit_code == 130
    assert (tmp_path / "died").exists()
    assert home.remote.names("work/oct/scores")
    done = score(folder, tmp_path / "shared")
    homes = list(Path(cluster.workers[0].local_directory).parent.rglob("detector.json"))
    assert homes, "no worker fetched the detector into a home of its own"
    assert done.exit_code == 3, done.output
    assert "resuming" in done.stderr
    assert told(begun) | told(done) == told(alone)
    assert hash_folder(tmp_path / "shared") == hash_folder(tmp_path / "alone")
    assert len(hash_folder(tmp_path / "alone")) > 30
    assert home.remote.names("work") == []
    assert not any(path.is_file() for path in (home.root / "work").rglob("*"))


def test_images_of_an_evaluation_are_measured_as_by_one_process(cluster, url, tmp_path, monkeypatch):
    drawn, store = draw(tmp_path), SharedStore(tmp_path / "shared", url)
    lesions = np.zeros((len(SPLITS), 1, TILE, TILE), np.uint8)
    lesions[FIRST_TEST:, :, 100:140, 100:140] = 1
    create(zarr.open_group(drawn.tiles.path), "lesions", lesions.shape, shard=8, level=1)
    write_rows(open_array(drawn.tiles.path, "lesions", "r+"), 0, lesions)
    detector, stage = freeze(drawn, tmp_path / "made", ["proxyano", "pca"]), tmp_path / "made" / "stage" / "proxyano"
    inputs = LaneInputs(
        dataset=replace(OCT, lesions=("spot",)),
        images=shared(store, replace(detector, asset="x/images")),  # is not read
        tiles=shared(store, drawn.tiles),
        proxies=shared(store, drawn.proxies),
        stage=shared(store, Version("x/stage2", stage, "c" * 32, {"seed": 0})),
        detector=shared(store, detector),
    )
    committee = {OWN: 1.0, "pca": 1.25}
    plan = DetectorPlan(method="proxyano", scores={CANVAS: SCORE}, controls=(control("pca"),), committee=committee)
    scoring = ScoringPlan(detector=plan, controls=(control("pca"), control("median")), nulls=())
    monkeypatch.setattr(measuring, "BATCH", 2)
    found = []
    with store.building("x/evaluation", "e" * 16) as work:
        workers = measuring.Workers(store=store, work=work, scheduler_address=cluster.scheduler_address)
        for elsewhere in (None, workers.images):
            board = Scoreboard.of(inputs, [CANVAS], None)
            carried = Carried(tmp_path / "alone" if elsewhere is None else work)
            score_lane(scoring, board, carried, "recipe", elsewhere)
            measured = {key: one for key, one in carried._known.items() if "/fitted/" not in key}
            counts = {key: (json.dumps(json.loads(values)[:3]), data) for key, (values, data) in measured.items()}
            found.append((board.table, counts))  # without seconds
    (one, counts), (other, others) = found
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert one.filter(like="control:").notna().all(axis=None)
    assert len(counts) == len(SPLITS[FIRST_TEST:]) + SPLITS.count("val")
    assert counts == others
    assert sum(bool(data) for _, data in counts.values()) == SPLITS.count("test")  # those with lesions
