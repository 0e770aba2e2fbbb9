"""One builder of an asset at a time, over processes: real ones, some of them killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.store import locks
from pipeline.store.versions import Store

ASSET = "oct/tiles"
PROJECT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from pipeline.store.versions import Store
Store(Path(sys.argv[1])).lock("oct/tiles", {"dagster_run": "run-1"}, warn=print)
print("held", flush=True)
sys.stdin.readline()
"""
BUILD = """
import sys, time
from pathlib import Path
from pipeline.store.versions import Store
store, name = Store(Path(sys.argv[1])), sys.argv[2]
told = []
for turn in range(4):
    store.lock("oct/tiles", {"dagster_run": name}, warn=told.append)
    with store.building("oct/tiles", "f" * 16) as work:  # the same build: its folder is shared
        for number in range(5):
            (work / f"{number}.txt").write_text(name)
            time.sleep(0.01)
        version = store.publish("oct/tiles", work, ("a" if name == "one" else "b") * 16, {"by": name})
    time.sleep(0.02)
    store.point(version)
    assert store.current("oct/tiles").meta == {"by": name}, "another process moved the pointer in between"
    assert {file.read_text() for file in version.path.glob("*.txt")} == {name}, "mixed"
    store.release()
print(len(told))
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def holder(tmp_path: Path):
    process = start(HOLD, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(autouse=True)
def let_go(tmp_path: Path):
    yield
    Store(tmp_path).release()


def test_a_second_process_waits_tells_who_it_waits_for_and_goes_on_after_a_kill(tmp_path, holder):
    told: list[str] = []

    def warn(text: str) -> None:
        told.append(text)
        if len(told) == 2:  # told again after a while
            holder.send_signal(signal.SIGKILL)

    Store(tmp_path).lock(ASSET, {"dagster_run": "run-2"}, warn=warn, every=0.3)
    assert holder.wait(10) == -signal.SIGKILL
    assert told[0] == told[1]
    assert told[0].startswith(f"oct/tiles: process {holder.pid} on ")
    assert "Dagster run run-1 is building it; waiting until it finishes" in told[0]
    about = json.loads((tmp_path / "locks" / ASSET / locks.HOLDER).read_text())
    assert (about["pid"], about["dagster_run"], about["asset"]) == (os.getpid(), "run-2", ASSET)


def test_two_processes_that_build_the_same_never_mix(tmp_path):
    processes = [start(BUILD, tmp_path, name) for name in ("one", "two")]
    ends = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    store = Store(tmp_path)
    assert {version.meta["by"] for version in store.versions(ASSET)} == {"one", "two"}
    for version in store.versions(ASSET):
        store.verify(version)


def test_the_next_asset_the_end_of_a_thread_and_release_free_the_last_one(tmp_path):
    store, told = Store(tmp_path), []

    def free(asset: str) -> bool:
        with locks.all_locked(store.lock_folder(asset), create=False) as answer:
            return answer

    store.lock(ASSET, {}, warn=told.append)
    store.lock(ASSET, {}, warn=told.append)  # again by the same thread: it is its own
    assert not free(ASSET)
    store.lock("oct/proxies", {}, warn=told.append)
    assert free(ASSET)
    assert not free("oct/proxies")
    store.release()
    store.release()
    assert free("oct/proxies")
    thread = threading.Thread(target=lambda: store.lock(ASSET, {}, warn=told.append))
    thread.start()
    thread.join()
    assert free(ASSET)
    assert told == []


def test_who_waits_on_a_lock_file_that_is_removed_still_waits_for_the_next_holder(tmp_path):
    """The lock file goes while it is held, as a clean does; two holders at once would be the mistake."""
    store, order = Store(tmp_path), []
    folder = store.lock_folder(ASSET)

    def second() -> None:
        store.lock(ASSET, {}, warn=lambda text: None)
        order.append("second")
        store.release()

    waiting = threading.Thread(target=second)
    with locks.all_locked(folder, create=True) as free:
        assert free
        waiting.start()
        time.sleep(0.3)
        (folder / locks.RUN).unlink()
        folder.rmdir()
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def test_what_is_held_anywhere_in_the_folder_is_not_free(tmp_path):
    store = Store(tmp_path)
    folder = store.lock_folder(ASSET)
    with store.building(ASSET, "f" * 16), locks.all_locked(folder, create=True) as free:
        assert not free
    with locks.all_locked(folder, create=True) as free:
        assert free
