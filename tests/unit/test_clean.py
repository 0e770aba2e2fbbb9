"""What goes from a store, what stays, and what a kill in the middle of it leaves."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.store import clean as module
from pipeline.store.clean import GOING, clean
from pipeline.store.provenance import Provenance
from pipeline.store.verify import MARKER
from pipeline.store.versions import Store, Version

pytestmark = pytest.mark.slow

ASSET = "oct/tiles"
ONE, TWO, THREE, FOUR = ("1" * 16, "2" * 16, "3" * 16, "4" * 16)
ORIGIN = Provenance(
    inputs={}, code_version="1", git_commit="unknown", dagster_run="r", mlflow_run="m", preset="sample", seed=0
)


def publish(store: Store, data_version: str, asset: str = ASSET, inputs: list[Version] | None = None) -> Version:
    """A version as the pipeline leaves it: pointed at, with note and origin; later ones are newer by their date."""
    with store.building(asset, data_version[::-1]) as work:
        group = zarr.open_group(work, mode="w")
        group.create_array("pixels", data=np.full((4, 8), int(data_version[0]), np.uint8), chunks=(1, 8))
        version = store.publish(asset, work, data_version, {})
    store.note(version, {"minutes": 1.0})
    store.record_provenance(version, replace(ORIGIN, inputs={item.asset: item.data_version for item in inputs or []}))
    store.point(version)
    return version


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for data_version in (ONE, TWO, THREE, FOUR):
        publish(store, data_version)
    return store


def left(store: Store, asset: str = ASSET) -> list[str]:
    return [version.data_version for version in store.versions(asset)]


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def test_the_newest_stay_and_a_dry_run_touches_nothing(store):
    before = files(store.root)
    plan = clean(store, keep=2)
    assert files(store.root) == before
    assert [removal.what for removal in plan.removals] == [
        f"version {TWO}",
        f"version {ONE}",
        "built",
        "notes",
        "origins",
        "lock files",
    ]
    assert plan.size == sum(removal.size for removal in plan.removals) > 0
    done = clean(store, keep=2, delete=True)
    assert done == plan
    assert left(store) == [THREE, FOUR]
    kept = {f"{kind}/oct/tiles/{name}.json" for kind in ("notes", "origins") for name in (THREE, FOUR)}
    kept |= {f"built/oct/tiles/{name[::-1]}.json" for name in (THREE, FOUR)} | {"current/oct/tiles.json"}
    assert {name for name in files(store.root) if (store.root / name).is_file()} >= kept
    assert not (store.root / "locks").exists()
    assert not (store.root / "work").exists()
    assert clean(store, keep=2).removals == ()
    for version in store.versions(ASSET):
        store.verify(version)


def test_the_current_version_stays_however_old_and_counts(store):
    store.point(store.get(ASSET, ONE))
    clean(store, keep=2, delete=True)
    assert left(store) == [ONE, FOUR]
    clean(store, keep=1, delete=True)
    assert left(store) == [ONE]
    with pytest.raises(ValueError, match="at least 1"):
        clean(store, keep=0)


def test_what_current_and_registered_versions_were_made_from_stays(store):
    publish(store, "5" * 16, "oct/stage1", [store.get(ASSET, ONE)])
    publish(store, "6" * 16, "oct/stage1", [store.get(ASSET, THREE)])  # current
    registered = {("oct/stage1", "5" * 16), ("else/where", "x"), (ASSET, "not hex")}
    clean(store, keep=1, registered=registered, delete=True)
    assert left(store) == [ONE, THREE, FOUR]
    clean(store, keep=1, delete=True)
    assert left(store) == [THREE, FOUR]
    assert left(store, "oct/stage1") == ["6" * 16]


def test_leftovers_of_killed_runs_go(store):
    (store.folder(ASSET, ONE) / MARKER).unlink()
    (store.work(ASSET, "a" * 16) / "0.0123abcd.partial").write_text("half")
    (store.work("oct/stage1", "b" * 16) / "state").mkdir()  # of an asset that never had a version
    leftovers = ["current/oct/.tiles.json.x1.tmp", "notes/oct/tiles/.n.json.x2.tmp", "built/oct/tiles/.b.json.x3.tmp"]
    for name in leftovers:
        (store.root / name).write_text("half")
    found = clean(store, keep=9, delete=True)
    assert {(item.asset, item.what, item.why) for item in found.removals if item.what != "lock files"} == {
        (ASSET, f"version {ONE}", "unfinished: it has no marker"),
        (ASSET, f"work {'a' * 16}", "an unfinished build that nobody runs"),
        ("oct/stage1", f"work {'b' * 16}", "an unfinished build that nobody runs"),
        (ASSET, "built", "their version is gone"),
        (ASSET, "notes", "their version is gone"),
        (ASSET, "origins", "their version is gone"),
        (ASSET, "temporary files", "left by a killed write"),
    }
    assert left(store) == [TWO, THREE, FOUR]
    assert not [name for name in files(store.root) if name.endswith((".tmp", ".partial"))]
    assert clean(store, keep=9).removals == ()


def test_what_a_live_process_builds_and_reads_is_left_alone(store):
    code = """
        import sys
        from pathlib import Path
        from pipeline.store.versions import Store
        store = Store(Path(sys.argv[1]))
        store.lock("oct/stage1", {"dagster_run": "run-7", "inputs": {"oct/tiles": sys.argv[2]}}, warn=print)
        with store.building("oct/stage1", "c" * 16) as work:
            (work / "half").write_text("half")
            print("held", flush=True)
            sys.stdin.readline()
    """
    lines = [line[8:] for line in code.splitlines()]
    command = [sys.executable, "-c", "\n".join(lines), str(store.root), ONE]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        ((asset, why),) = clean(store, keep=1, delete=True).skipped.items()
        assert asset == "oct/stage1"
        assert f"in use by process {child.pid} on " in why
        assert why.endswith("Dagster run run-7")
        assert left(store) == [ONE, FOUR]  # the build reads the first
        assert (store.root / "work" / "oct" / "stage1" / ("c" * 16) / "half").is_file()
    finally:
        child.kill()
        child.communicate()
    assert clean(store, keep=1, delete=True).skipped == {}
    assert left(store) == [FOUR]
    assert not (store.root / "work").exists()


@pytest.mark.parametrize("moment", range(6))
def test_a_kill_in_the_middle_is_finished_by_the_next_clean(store, moment):
    """SIGKILL at each of the first removals inside a version's or a work folder's tree."""
    (store.work(ASSET, "a" * 16) / "a.txt").write_text("a")
    (store.work(ASSET, "a" * 16) / "b.txt").write_text("b")
    command = [sys.executable, __file__, str(store.root), str(moment)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.run(command, env=environment, check=False)
    assert child.returncode == -signal.SIGKILL
    for version in store.versions(ASSET):  # what has a marker is whole
        store.verify(version)
    assert store.current(ASSET).data_version == FOUR
    assert files(store.root / "work" / ASSET / ("a" * 16)) in (set(), {"a.txt", "b.txt"})  # all or nothing of a build
    clean(store, keep=2, delete=True)
    assert left(store) == [THREE, FOUR]
    assert not (store.root / "work").exists()
    assert clean(store, keep=2).removals == ()


def test_a_work_folder_whose_removal_began_is_taken_up_by_no_build(store):
    work = store.work(ASSET, "a" * 16)
    (work / "a.txt").write_text("a")
    work.rename(work.with_name(f"{GOING}{work.name}"))
    assert files(store.work(ASSET, "a" * 16)) == set()
    clean(store, keep=9, delete=True)
    assert not (store.root / "work").exists()


def test_readers_of_an_old_version_are_unharmed_by_new_ones(tmp_path):
    store = Store(tmp_path)
    old = publish(store, ONE)
    pixels = zarr.open_group(store.current(ASSET).path, mode="r")["pixels"]
    assert isinstance(pixels, zarr.Array)
    assert int(np.asarray(pixels[0])[0]) == 1
    publish(store, TWO)
    assert np.array_equal(np.asarray(pixels[:]), np.ones((4, 8)))  # chunks not read before the new version came
    clean(store, keep=2, delete=True)
    assert np.array_equal(np.asarray(pixels[:]), np.ones((4, 8)))
    store.verify(old)
    assert store.current(ASSET).data_version == TWO


def test_an_empty_home_has_nothing_to_remove(tmp_path):
    assert clean(Store(tmp_path / "none"), keep=2, delete=True).removals == ()
    assert not (tmp_path / "none").exists()


def die_while_removing(root: Path, moment: int) -> None:
    """Child of the kill test: a clean that is killed after so many steps of its removals."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps > moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def slow_rmtree(path: Path) -> None:
        for file in sorted(path.rglob("*")):
            if file.is_file():
                step()
                file.unlink()
        shutil.rmtree(path)

    class Slow:
        rmtree = staticmethod(slow_rmtree)

    module.shutil = Slow  # type: ignore[assignment]
    clean(Store(root), keep=2, delete=True)


if __name__ == "__main__":
    die_while_removing(Path(sys.argv[1]), int(sys.argv[2]))
