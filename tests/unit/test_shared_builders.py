"""Builders on several machines, and workers without a common folder, on one bucket of a real S3 server."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.data.raw import RawFolder
from pipeline.store.versions import Store, Version
from pipeline.tiles.proxies import build_proxies
from pipeline.tiles.tiles import build_tiles
from tests.unit.drawn_tiles import CONFIG as TILES
from tests.unit.drawn_tiles import Corners, Eyes, make_inputs
from tests.unit.test_proxies import CONFIG, make_tiles

pytest.importorskip("moto", reason="no S3 server: pip install 'proxyano[dev]'")
pytest.importorskip("obstore", reason="no client of object stores: pip install 'proxyano[bucket]'")

from pipeline.store.leases import LeaseLost
from pipeline.store.shared import SharedStore

pytestmark = pytest.mark.slow
ASSET, KEY, DATA = "oct/tiles", "a" * 16, "c" * 32
PROJECT = Path(__file__).parents[2]


BUILD = """
import sys, time
from pathlib import Path
from pipeline.store.shared import SharedStore
store, name, turns = SharedStore(Path(sys.argv[1]), sys.argv[2], lease=1), sys.argv[3], int(sys.argv[4])
for turn in range(turns):
    store.lock("oct/tiles", {"dagster_run": name}, warn=print)
    store.remote.write("log/holder", name.encode())
    with store.building("oct/tiles", "f" * 16) as work:
        (work / "by.txt").write_text(name)
        version = store.publish("oct/tiles", work, ("a" if name == "one" else "b") * 16, {"by": name})
    store.point(version)
    assert store.remote.read("log/holder")[0] == name.encode(), "two held the lock"
    assert store.current("oct/tiles").meta == {"by": name}, "another machine moved the pointer in between"
    if turns > 1:
        store.release()
print("done", flush=True)
sys.stdin.readline()
"""


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILD, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def test_two_machines_build_one_asset_in_turn_and_a_killed_one_loses_its_lease(url, tmp_path):
    racers = [start(tmp_path / name, url, name, 3) for name in ("one", "two")]
    for racer in racers:
        printed, _ = racer.communicate("\n", timeout=60)
        assert racer.returncode == 0
        assert printed.endswith("done\n")
    holder = start(tmp_path / "one", url, "one", 1)
    while holder.stdout.readline() != "done\n":
        pass
    store, told = SharedStore(tmp_path / "three", url, lease=1), []
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    started = time.monotonic()
    store.lock(ASSET, {}, warn=told.append)
    assert 0.8 < time.monotonic() - started < 10
    assert told[0].startswith("oct/tiles: process ")
    assert told[0].endswith("Dagster run one is building it; waiting until it finishes")
    store.release()


def test_a_living_holder_keeps_its_lease_and_one_that_lost_it_moves_no_pointer(url, tmp_path):
    one, drawn = SharedStore(tmp_path / "1", url, lease=0.4), tmp_path / "drawn"
    drawn.mkdir()
    (drawn / "a.txt").write_text("a")
    version = published(one, drawn)
    one.lock(ASSET, {}, warn=print)
    name = f"locks/{ASSET}/run.json"
    before = one.remote.read(name)
    time.sleep(0.6)
    assert one.remote.read(name) != before, "not renewed"
    one.point(version)
    one.remote.write(name, b'{"host": "other"}')  # as a machine does that has waited in vain
    time.sleep(0.3)
    with pytest.raises(LeaseLost, match="oct/tiles: another machine has made it meanwhile"):
        one.point(version)
    one.release()
    assert one.remote.read(name)[0] == b'{"host": "other"}', "it released what another holds"


def test_the_lease_of_a_killed_process_of_this_home_is_free_at_once(url, tmp_path):
    holder = start(tmp_path, url, "one", 1)
    while holder.stdout.readline() != "done\n":
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    store, told = SharedStore(tmp_path, url), []
    store.lock(ASSET, {}, warn=told.append)
    store.release()
    assert told == []


def test_workers_without_a_common_folder_give_what_threads_give_and_one_is_killed(url, tmp_path):
    from distributed import LocalCluster

    drawn = make_tiles(tmp_path / "drawn")
    store, alone = SharedStore(tmp_path / "1", url), Store(tmp_path / "2")
    by_threads = build_proxies(published(alone, drawn.path), CONFIG, alone, code_version="1")
    tiles = published(store, drawn.path)
    settings = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**settings, local_directory=str(tmp_path / "workers")) as cluster:

        def kill_one() -> None:
            while not any("/proxies/" in name for name in store.remote.names("work")):  # one task has ended
                time.sleep(0.02)
            os.kill(cluster.workers[0].pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_one)
        killer.start()
        by_workers = build_proxies(tiles, CONFIG, store, code_version="1", scheduler_address=cluster.scheduler_address)
        killer.join()
        inputs = make_inputs(tmp_path), RawFolder(tmp_path / "raw"), Eyes(), Corners(), TILES
        cut_by_workers = build_tiles(*inputs, store, code_version="1", scheduler_address=cluster.scheduler_address)
        homes = list((tmp_path / "workers").rglob("COMPLETE.json"))
    assert homes, "no worker fetched its input into a home of its own"
    assert by_workers.data_version == by_threads.data_version
    assert store.marker(by_workers)["files"] == alone.marker(by_threads)["files"]
    cut_by_threads = build_tiles(*inputs, Store(tmp_path / "3"), code_version="1")
    assert cut_by_workers.data_version == cut_by_threads.data_version
    assert store.marker(cut_by_workers)["files"] == alone.marker(cut_by_threads)["files"]
    assert store.remote.names("work") == []


def published(store: Store, folder: Path) -> Version:
    work = store.work(ASSET, KEY)
    shutil.copytree(folder, work / "content")
    return store.publish(ASSET, work / "content", DATA, {})
