"""Increments from damaged, interrupted and differently stored versions."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.data.raw import RawFolder
from pipeline.errors import StoreCorrupt
from pipeline.store.increments import FILE, Record
from pipeline.store.shards import copy_shard, create, open_array, rows_at, write_rows
from pipeline.store.versions import Store
from pipeline.tiles import cutting as cutting_module
from pipeline.tiles.tiles import TilesConfig, build_tiles
from tests.unit.increment_lane import COUNT, Eyes, Lane, built_lane, check

pytestmark = pytest.mark.slow


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lane:
    return built_lane(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "config", [TilesConfig(form="counting", shard=8), TilesConfig(form="counting", shard=4, level=5)]
)
def test_rows_are_taken_over_into_another_storage_layout(lane: Lane, config: TilesConfig) -> None:
    lane.config = config
    lane.draw("10", 98)
    check(lane, cuts=1, painted=2)


@pytest.mark.parametrize("asset", ["eyes/tiles", "eyes/proxies"])
def test_a_damaged_version_is_not_carried_on(lane: Lane, asset: str, caplog: pytest.LogCaptureFixture) -> None:
    version = Store(lane.root / "store").current(asset)
    shard = next(path for path in sorted((version.path / "pixels" / "c").rglob("*")) if path.is_file())
    damaged = bytearray(shard.read_bytes())
    damaged[100] ^= 1
    shard.write_bytes(damaged)
    lane.draw("80", 98)
    with caplog.at_level(logging.WARNING):
        if asset == "eyes/tiles":
            check(lane, cuts=COUNT, painted=2)
        else:
            check(lane, cuts=1, painted=16)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "rebuilding all rows" in warning
    assert shard.relative_to(version.path).as_posix() in warning


def test_a_copy_that_went_wrong_is_found_as_damaged(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash of a copied file is that of the file it was copied from."""
    copied = []

    def badly(old: Path, new: Path) -> None:
        copy_shard(old, new)
        if new.is_file() and not copied:
            new.write_bytes(new.read_bytes()[:-1] + b"!")
            copied.append(new.name)

    monkeypatch.setattr("pipeline.store.increments.copy_shard", badly)
    store = Store(lane.root / "store")
    lane.draw("80", 98)
    tiles = lane.tiles(store)
    assert copied
    with pytest.raises(StoreCorrupt, match="is damaged"):
        store.verify(tiles)


def test_rows_that_are_not_what_the_record_says_stop_the_build(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a file to change after it was verified, its rows would not pass."""
    store = Store(lane.root / "store")
    version = store.current("eyes/tiles")
    array = open_array(version.path, "pixels", "r+")
    write_rows(array, 4, np.asarray(array[4:8]) ^ 1)
    monkeypatch.setattr(Store, "verify", lambda self, version: None)
    monkeypatch.setattr(Store, "opened", Store.get)
    lane.draw("20", 99)
    with pytest.raises(StoreCorrupt, match=f"differ from {FILE}"):
        lane.tiles(store)


def test_a_version_without_a_record_is_made_anew_and_read_all_the_same(lane: Lane) -> None:
    for asset in ("eyes/tiles", "eyes/proxies"):
        version = Store(lane.root / "store").current(asset)
        (version.path / FILE).unlink()
        marker = version.path / "COMPLETE.json"
        told = json.loads(marker.read_text())
        del told["files"][FILE], told["sha256"]
        marker.write_text(json.dumps(told))
    lane.draw("10", 98)
    check(lane, cuts=COUNT, painted=16)


def test_a_killed_increment_goes_on_even_from_another_version(lane: Lane) -> None:
    """Its parts are known by content: none is mixed up when other images are left to cut."""
    store = Store(lane.root / "store")
    first = store.current("eyes/tiles")
    lane.draw("00a", 90)
    lane.tiles(store)  # a second version that knows one of the coming images
    second = lane.tiles(store)
    for number in range(20):
        lane.draw(f"{number:02d}x", 100 + number)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.run([sys.executable, __file__, str(lane.root)], env=environment, check=False)
    assert child.returncode == -signal.SIGKILL
    (work,) = (lane.root / "store" / "work" / "eyes" / "tiles").iterdir()
    assert len(list((work / "parts").glob("*.part"))) == 1
    store.point(second)
    assert second != first
    check(lane, cuts=20, painted=42)  # batches begin elsewhere, so no part fits


def test_a_killed_increment_goes_on_where_it_stopped(lane: Lane) -> None:
    for number in range(20):
        lane.draw(f"{number:02d}x", 100 + number)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, __file__, str(lane.root)], env=environment, check=False)
    check(lane, cuts=20 - cutting_module.BATCH, painted=40)


def test_every_kept_shard_of_zeros_has_no_file(lane: Lane) -> None:
    """zarr writes none for them, so there is none to copy; reading gives zeros."""
    store = Store(lane.root / "store")
    tiles = store.current("eyes/tiles")
    assert not (tiles.path / "lesions" / "c" / "0").exists()
    lane.draw("80", 98)
    again, _ = check(lane, cuts=1, painted=2)
    assert not np.asarray(open_array(again.path, "lesions")[0:4]).any()


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = Record(
        recipe="r",
        sources={"a": (0, 2), "b": "white corner", "c": (2, 1)},
        digests=[["x", "y"], ["z", "v"], ["u", "w"]],
    )
    record.write(tmp_path)
    assert Record.read(tmp_path) == record
    assert Record.read(tmp_path / "none") is None


@pytest.mark.parametrize("rows", [[], [3], [0, 1, 2], [9, 8, 7], [4, 5, 1, 2, 3, 9, 4], list(range(10))])
def test_rows_are_read_in_any_order(tmp_path: Path, rows: list[int]) -> None:
    values = np.random.default_rng(0).integers(0, 255, (10, 1, 8, 8), dtype=np.uint8)
    create(zarr.open_group(tmp_path, mode="w"), "pixels", values.shape, shard=4, level=1)
    write_rows(open_array(tmp_path, "pixels", "r+"), 0, values)
    np.testing.assert_array_equal(rows_at(open_array(tmp_path, "pixels"), np.array(rows, int)), values[rows])


def be_killed(root: Path) -> None:
    """Child of the kill tests: an increment with one thread that sends SIGKILL to itself in the second batch."""
    lane = Lane(root)
    lane.form.deadly = 12
    how = {"code_version": lane.code, "workers": 1}
    raw, store = RawFolder(lane.raw), Store(root / "store")
    build_tiles(lane.images(), raw, Eyes(), lane.form, lane.config, store, **how)  # type: ignore[arg-type]


if __name__ == "__main__":
    be_killed(Path(sys.argv[1]))
