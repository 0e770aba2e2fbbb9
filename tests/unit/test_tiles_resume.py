"""Tiles builds that fail or are killed go on where they stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from pipeline.forms.form import SlotTile
from pipeline.store import increments as increments_module
from pipeline.store.shards import create, open_array, write_rows
from pipeline.store.versions import Store, Version
from pipeline.tiles import cutting as cutting_module
from tests.unit.drawn_tiles import Corners, build, make_inputs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Version, Version]:
    root = tmp_path_factory.mktemp("lane")
    images = make_inputs(root)
    return root, images, build(root, images, Corners())


def test_an_equal_build_is_not_done_twice(lane: tuple[Path, Version, Version]) -> None:
    root, images, tiles = lane

    class Untouchable(Corners):
        def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
            raise AssertionError("cut again")

    assert build(root, images, Untouchable()) == tiles
    assert not any((root / "store" / "work" / "eyes" / "tiles").iterdir())


def test_an_error_while_cutting_is_resumed(lane: tuple[Path, Version, Version], tmp_path: Path) -> None:
    root, images, tiles = lane
    cuts = []

    class Failing(Corners):
        limit = 10

        def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
            cuts.append(image.shape)
            if len(cuts) == self.limit:
                raise RuntimeError("power lost")
            return super().cut(image, masks)

    with pytest.raises(RuntimeError, match="power lost"):
        build(root, images, Failing(), str(tmp_path), workers=1)
    cuts.clear()
    Failing.limit = 999
    assert build(root, images, Failing(), str(tmp_path), workers=1).data_version == tiles.data_version
    assert len(cuts) == 21 - cutting_module.BATCH


def test_an_error_while_storing_is_resumed(
    lane: tuple[Path, Version, Version], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, images, tiles = lane
    calls = []
    whole = cutting_module._unpack

    def failing(part: Path) -> dict[str, NDArray[np.uint8]]:
        calls.append(part)
        if len(calls) == 9:
            raise RuntimeError("power lost")
        return whole(part)

    monkeypatch.setattr(cutting_module, "_unpack", failing)
    with pytest.raises(RuntimeError, match="power lost"):
        build(root, images, Corners(), str(tmp_path), workers=1)
    assert build(root, images, Corners(), str(tmp_path), workers=1).data_version == tiles.data_version


@pytest.mark.parametrize("moment", ["cut", "store"])
def test_sigkill_and_rerun_give_the_same_data_version(
    lane: tuple[Path, Version, Version], tmp_path: Path, moment: str
) -> None:
    """A real SIGKILL of a subprocess in the middle of either pass."""
    _, _, tiles = lane
    images = make_inputs(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, __file__, str(tmp_path), moment]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    (work,) = (tmp_path / "store" / "work" / "eyes" / "tiles").iterdir()
    assert len(list((work / "parts").glob("*.part"))) == (1 if moment == "cut" else 3)
    assert len(list((work / "shards").glob("*.json"))) == (0 if moment == "cut" else 5)
    rerun = build(tmp_path, images, Corners())
    assert rerun.data_version == tiles.data_version
    assert not work.exists()
    Store(tmp_path / "store").verify(rerun)


def test_a_recorded_shard_that_was_damaged_is_written_again(
    lane: tuple[Path, Version, Version], tmp_path: Path
) -> None:
    images = make_inputs(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, __file__, str(tmp_path), "store"], env=environment, check=False)
    (work,) = (tmp_path / "store" / "work" / "eyes" / "tiles").iterdir()
    open_array(work / "content", "pixels", "r+")[0:4] = 0
    assert build(tmp_path, images, Corners()).data_version == lane[2].data_version


@pytest.mark.parametrize(("start", "count"), [(0, 2), (2, 2), (2, 4), (0, 6), (8, 1), (8, 3), (4, 0)])
def test_parts_of_a_shard_are_never_written(tmp_path: Path, start: int, count: int) -> None:
    group = zarr.open_group(tmp_path, mode="w")
    create(group, "pixels", (10, 1, 8, 8), shard=4, level=1)
    array = open_array(tmp_path, "pixels", "r+")
    with pytest.raises(ValueError, match="whole shards of 4"):
        write_rows(array, start, np.ones((count, 1, 8, 8), np.uint8))
    assert not np.asarray(array[:]).any()
    for good, size in [(0, 4), (4, 6), (8, 2), (0, 10)]:
        write_rows(array, good, np.ones((size, 1, 8, 8), np.uint8))
    assert np.asarray(array[:]).all()


def be_killed(root: Path, moment: str) -> None:
    """Child of the kill tests: build with one thread and send SIGKILL to itself in the middle."""
    images = Version(asset="eyes/images", path=root / "images", data_version="c" * 16, meta={})
    count = 0

    class Deadly(Corners):
        def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
            nonlocal count
            count += 1
            if moment == "cut" and count == 12:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().cut(image, masks)

    fill = increments_module._fill

    def deadly(*args: object, **settings: object) -> list[str]:
        nonlocal count
        count += 1
        if moment == "store" and count == 21 + 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return fill(*args, **settings)  # type: ignore[arg-type]

    increments_module._fill = deadly
    build(root, images, Deadly(), workers=1)


if __name__ == "__main__":
    be_killed(Path(sys.argv[1]), sys.argv[2])
