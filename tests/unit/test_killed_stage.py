"""A stage of 200 steps killed ten times at random goes on from its last moments and ends as if undisturbed.

The time between two states is a twentieth of the undisturbed run here, instead of the minute of ``models.trainer``.
"""

import contextlib
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch
from tqdm import tqdm

from models import trainer
from models.checkpoint import STATE_FILE, read_tensors
from models.schedule import TrainConfig
from pipeline.store.versions import MARKER, Store
from pipeline.training import CanvasTraining, Training, TrainingPlan, train_stage
from tests.unit.drawn_detectors import CANVAS, Drawn, draw
from tests.unit.short_training import METHOD

pytestmark = pytest.mark.slow
STEPS, KILLS, STATES = 200, 10, 20
PLAN = TrainConfig(steps=STEPS, batch_size=4, weight_average=0.9, evaluate_every=50, log_every=1)


def train(drawn: Drawn, store: Path, seconds: float, beats: Connection) -> None:
    """The stage in a process of its own, which tells the number and the time of every step."""
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # a killed process would leave the one that processes share
    trainer.CHECKPOINT_SECONDS = seconds
    canvases = {CANVAS: CanvasTraining(size=(16, 16), model=METHOD, stages={"stage1": PLAN})}
    training = Training(
        asset="x/stage1",
        tiles=drawn.tiles,
        proxies=drawn.proxies,
        plan=TrainingPlan(method="proxyano", canvases=canvases),
        seed=0,
        code_version="1",
        log=lambda step, figures: beats.send((step, time.time())),
        progress=False,
    )
    train_stage("stage1", None, training, Store(store))


@dataclass
class Run:
    """One process, until its end or its kill."""

    steps: list[int]
    times: list[float]  # when each step was done
    ended: float  # when it ended or was killed
    code: int | None

    @property
    def longest(self) -> float:
        """Seconds of the longest step, evaluation and saving included."""
        return float(np.diff([*self.times, self.ended]).max())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Run the stage in a fresh process; SIGKILL ``pause`` seconds after the step ``until``.

    The imports are done once, in the process from which all are forked.
    """
    drawn, context = draw(tmp_path_factory.mktemp("drawn")), multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([train.__module__, "lightning_fabric"])

    def done(store: Path, seconds: float, until: int = STEPS, pause: float = 0.0) -> Run:
        beats, theirs = context.Pipe(duplex=False)
        process = context.Process(target=train, args=(drawn, store, seconds, theirs))
        process.start()
        theirs.close()
        told = [beats.recv()]
        while told[-1][0] < until:
            told.append(beats.recv())
        if until < STEPS:
            time.sleep(pause)
            process.kill()
            ended = time.time()
        process.join()
        with contextlib.suppress(EOFError):
            while True:
                told.append(beats.recv())
        ended = ended if until < STEPS else time.time()
        steps, times = zip(*told, strict=True)
        return Run(list(steps), list(times), ended, process.exitcode)

    return done


def state(store: Path) -> Path | None:
    """The resumable state of the killed stage."""
    return next(store.glob(f"work/x/stage1/*/state/{CANVAS}/{STATE_FILE}"), None)


def content(store: Path) -> dict[str, bytes]:
    """What the stage published, except the time of its marker."""
    (version,) = Store(store).versions("x/stage1")
    files = (path for path in version.path.rglob("*") if path.is_file() and path.name != MARKER)
    return {path.relative_to(version.path).as_posix(): path.read_bytes() for path in files}


def test_ten_kills_lose_moments_and_change_no_weight(run: Callable[..., Run], tmp_path: Path) -> None:
    straight = run(tmp_path / "straight", seconds=60.0)
    assert (straight.code, straight.steps[0], straight.steps[-1]) == (0, 1, STEPS)
    seconds = (straight.times[-1] - straight.times[0]) / STATES
    rng, store, next_step = np.random.default_rng(0), tmp_path / "killed", 1
    for until in sorted(rng.choice(np.arange(5, STEPS - 5), KILLS, replace=False)):
        killed = run(store, seconds, int(until), pause=float(rng.uniform(0, seconds / STATES)))
        assert killed.code == -signal.SIGKILL
        assert killed.steps[0] == next_step, "it goes on from the last state"
        held, since = state(store), killed.times[0]
        if held is not None:
            since = max(since, held.stat().st_mtime)
            next_step = read_tensors(held)[1]["progress"]["step"] + 1
        assert killed.ended - since < seconds + 3 * killed.longest, "the state is older than was promised"
    assert next_step > STEPS / 2
    last = run(store, seconds)
    assert (last.code, last.steps[0], last.steps[-1]) == (0, next_step, STEPS)
    assert content(store) == content(tmp_path / "straight")
