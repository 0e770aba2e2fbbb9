"""Two processes train as one does: every method's losses, a streamed stage, and a process that is lost."""

import json
import signal
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import torch

from models.checkpoint import STATE_FILE, read_tensors
from models.trainer import TrainResult, fit
from pipeline.errors import ProxyAnoError
from pipeline.processes import Processes
from pipeline.store.versions import Version
from tests.unit.many_tiles import CANVAS, TRAIN, data, draw, training
from tests.unit.two_ranks import VARIANTS, losses

pytestmark = pytest.mark.slow
TOLERANCE = 1e-3
"""Largest relative difference of a loss, or absolute one of losses below 1, after few steps; measured: up to 6e-5."""
STEPS = 40
SCRIPT = Path(__file__).with_name("two_ranks.py")
OPTIONS = "--standalone --nproc-per-node=2 --no-python"  # no --max-restarts: torch 2.13 then reads stale addresses
LAUNCHER = f"{sys.executable} -m torch.distributed.run {OPTIONS} {sys.executable} {SCRIPT}"


@dataclass
class Made:
    """What two processes made of a streamed stage 2, the second of which was lost at step 6."""

    folder: Path
    steps: list[int]  # of the log lines
    result: TrainResult


def close(one: dict[str, float], other: dict[str, float]) -> bool:
    return one == {name: pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE) for name, value in other.items()}


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return draw(tmp_path_factory.mktemp("tiles"))


@pytest.fixture(scope="module")
def made(tiles: Version, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder, steps = tmp_path_factory.mktemp("ranks"), list[int]()

    def log(step: int, figures: dict[str, float]) -> None:
        steps.append(step)
        if steps.count(6) == 2 and step == 6:  # the first time it was the straight training
            (second,) = [one for one in psutil.Process().children(recursive=True) if one.environ().get("RANK") == "1"]
            second.send_signal(signal.SIGKILL)

    job = training(tiles, Processes(devices="2", memory=6e-5, launcher=LAUNCHER), log, STEPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(SCRIPT.parents[2]))
        with pytest.raises(ProxyAnoError, match="resumes from the last state"):
            job.fit(job.start(CANVAS), "stage2", CANVAS, folder / "lost", "key", CANVAS)
        result = job.fit(job.start(CANVAS), "stage2", CANVAS, folder / "lost", "key", CANVAS)
    return Made(folder, steps, result)


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_have_the_losses_of_one(variant: str, made: Made, tmp_path: Path) -> None:
    first, second = (json.loads((made.folder / f"rank{rank}.json").read_text())[variant] for rank in range(2))
    assert first == second, "ranks agree in figures and weights"
    alone = losses(variant, tmp_path, 1)
    assert len(first["figures"]) == len(alone["figures"])
    for one, other in zip(first["figures"], alone["figures"], strict=True):
        assert close(one, other)


def test_after_a_lost_process_the_training_resumes_and_ends_the_same(made: Made) -> None:
    starts = [made.steps[0], *(now for before, now in pairwise(made.steps) if now < before)]
    assert starts[:2] == [2, 2], "the straight training, and the one to be broken off"
    assert len(starts) == 3
    assert 4 < starts[2] <= 10, "it goes on after its last state"
    (straight, _), (found, _) = (read_tensors(made.folder / name / STATE_FILE) for name in ("straight0", "lost"))
    assert found.keys() == straight.keys()
    assert [name for name in found if not torch.equal(found[name], straight[name])] == []


def test_a_streamed_stage_has_the_validation_losses_of_one_process(made: Made, tiles: Version, tmp_path: Path) -> None:
    own, window = training(tiles), made.result.window
    sources, config = data(tiles).streams(window), replace(TRAIN, steps=STEPS)
    alone = fit(own.start(CANVAS), "stage2", *sources, config, tmp_path, seed=4, data="key", progress=False)
    assert 0 < window == alone.window < len(sources[0])
    assert len(alone.history) == len(made.result.history) == STEPS // TRAIN.evaluate_every
    for one, other in zip(made.result.history, alone.history, strict=True):
        assert close(one, other)


def test_a_batch_that_cannot_be_shared_is_refused(tiles: Version, tmp_path: Path) -> None:
    method = training(tiles).start(CANVAS)
    with pytest.raises(ValueError, match="batch_size 4, 3 processes"):
        fit(method, "stage1", *data(tiles).sources(0), TRAIN, tmp_path, seed=4, progress=False, devices=3)


def test_processes_that_fail_are_an_error(tiles: Version, tmp_path: Path) -> None:
    job = training(tiles, Processes(launcher="false"))
    with pytest.raises(ProxyAnoError, match=r"stage1.*ended with 1.*resumes"):
        job.fit(job.start(CANVAS), "stage1", CANVAS, tmp_path, "key", CANVAS)
