"""Two processes train as one does: every method's losses, a streamed stage, and a process that is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from models.checkpoint import STATE_FILE, read_tensors
from models.trainer import fit
from pipeline.errors import ProxyAnoError
from pipeline.processes import Processes
from pipeline.store.versions import Version
from tests.contract.tiny_methods import VARIANTS
from tests.unit.many_tiles import CANVAS, TRAIN, data, draw, training
from tests.unit.two_ranks import losses

pytestmark = pytest.mark.slow
TOLERANCE = 1e-3
"""Largest relative difference of a loss, or absolute one of losses below 1, after few steps; measured: up to 6e-5."""
STEPS = 40
TWO = Processes(devices="2", memory=6e-5)


def close(one: dict[str, float], other: dict[str, float]) -> bool:
    return one == {name: pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE) for name, value in other.items()}


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return draw(tmp_path_factory.mktemp("tiles"))


@pytest.fixture(scope="module")
def lost(tiles: Version, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a streamed stage 2 in two processes, the second of which was killed at step 6."""
    folder = tmp_path_factory.mktemp("lost")

    def kill(step: int, figures: dict[str, float]) -> None:
        if step == 6:
            (second,) = [one for one in psutil.Process().children(recursive=True) if one.environ().get("RANK") == "1"]
            second.send_signal(signal.SIGKILL)

    job = training(tiles, TWO, kill, STEPS)
    with pytest.raises(ProxyAnoError, match="resumes from the last state"):
        job.fit(job.start(CANVAS), "stage2", CANVAS, folder, "key", CANVAS)
    return folder


@pytest.fixture(scope="module")
def ranks(lost: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes wrote: the losses of all methods, and the same stage straight through."""
    folder = tmp_path_factory.mktemp("ranks")
    shutil.copytree(lost, folder / "straight")
    (folder / "straight" / STATE_FILE).unlink()
    script = Path(__file__).with_name("two_ranks.py")
    command = [*TWO.command, sys.executable, str(script), str(folder)]
    environment = os.environ | {"PYTHONPATH": str(script.parents[2]), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment)
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_have_the_losses_of_one(variant: str, ranks: Path, tmp_path: Path) -> None:
    first, second = (json.loads((ranks / f"rank{rank}.json").read_text())[variant] for rank in range(2))
    assert first == second, "ranks agree in figures and weights"
    alone = losses(variant, tmp_path, 1)
    assert len(first["figures"]) == len(alone["figures"])
    for one, other in zip(first["figures"], alone["figures"], strict=True):
        assert close(one, other)


def test_a_lost_process_ends_all_and_the_restart_ends_the_same(
    lost: Path, ranks: Path, tiles: Version, tmp_path: Path
) -> None:
    _, meta = read_tensors(lost / STATE_FILE)
    begun, seen = meta["progress"]["step"], list[int]()
    assert 4 <= begun < STEPS
    again = training(tiles, TWO, lambda step, figures: seen.append(step), STEPS)
    result = again.fit(again.start(CANVAS), "stage2", CANVAS, lost, "key", CANVAS)
    assert begun < min(seen) <= begun + 2
    assert max(seen) == STEPS
    (straight, _), (found, meta) = (read_tensors(folder / STATE_FILE) for folder in (ranks / "straight", lost))
    assert found.keys() == straight.keys()
    assert [name for name in found if not torch.equal(found[name], straight[name])] == []
    window = meta["fingerprint"]["window"]
    sources, config = data(tiles).streams(window), replace(TRAIN, steps=STEPS)
    alone = fit(again.start(CANVAS), "stage2", *sources, config, tmp_path, seed=4, data="key", progress=False)
    assert 0 < window == alone.window < len(sources[0])
    assert len(alone.history) == len(result.history) == STEPS // TRAIN.evaluate_every
    for one, other in zip(result.history, alone.history, strict=True):
        assert close(one, other)


def test_a_batch_that_cannot_be_shared_is_refused(tiles: Version, tmp_path: Path) -> None:
    method = training(tiles).start(CANVAS)
    with pytest.raises(ValueError, match="batch_size 4, 3 processes"):
        fit(method, "stage1", *data(tiles).sources(0), TRAIN, tmp_path, seed=4, progress=False, devices=3)
