"""Training that was killed resumes bit for bit; states of other trainings are refused."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.checkpoint import STATE_FILE, read_tensors
from models.schedule import TrainConfig
from tests.unit.short_training import TRAIN, run

pytestmark = pytest.mark.slow


def assert_same_state(one: Path, other: Path) -> None:
    (tensors, meta), (expected, expected_meta) = read_tensors(one / STATE_FILE), read_tensors(other / STATE_FILE)
    assert tensors.keys() == expected.keys()
    different = [name for name in tensors if not torch.equal(tensors[name], expected[name])]
    assert different == []
    for held in (meta, expected_meta):
        held["progress"].pop("seconds")
    assert meta == expected_meta


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_resume_is_bit_for_bit(stage: str, tmp_path: Path) -> None:
    straight = run(tmp_path / "straight", stage)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", stage, stop_at=6)  # the last state is step 4's
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", stage, stop_at=12)
    (tmp_path / "broken" / f".{STATE_FILE}.writing").write_bytes(b"half a file")
    resumed = run(tmp_path / "broken", stage)
    assert (resumed.weights, resumed.history) == (straight.weights, straight.history)
    assert_same_state(tmp_path / "straight", tmp_path / "broken")


def test_state_holds_memory_moments_and_generators(tmp_path: Path) -> None:
    run(tmp_path, "stage1")
    tensors, _ = read_tensors(tmp_path / STATE_FILE)
    names = {"method/extraction.memory.counts", "best/extraction.memory.sums", "adam/extract/0/exp_avg_sq"}
    assert names | {"random/generator", "random/global", "average/extraction.memory.items"} <= tensors.keys()


_KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from models.methods import build
from models.trainer import fit
from tests.unit.short_training import METHOD, TRAIN, source
def kill(step, figures):
    if step == 10:
        os.kill(os.getpid(), signal.SIGKILL)
method = build("proxyano", METHOD, seed=0)
fit(method, "stage2", source(23, 0), source(7, 1), TRAIN, Path(sys.argv[1]), seed=4, log=kill, data="a", progress=False)
"""


def test_resume_after_sigkill(tmp_path: Path) -> None:
    project = Path(__file__).parents[2]
    straight = run(tmp_path / "straight", "stage2")
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path / "killed")],
        check=False,
        env=os.environ | {"PYTHONPATH": str(project)},
    )
    assert killed.returncode == -signal.SIGKILL
    _, meta = read_tensors(tmp_path / "killed" / STATE_FILE)
    assert meta["progress"]["step"] == 8
    resumed = run(tmp_path / "killed", "stage2")
    assert resumed.weights == straight.weights
    assert_same_state(tmp_path / "straight", tmp_path / "killed")


def test_a_state_is_written_by_time_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    often = replace(TRAIN, checkpoint_every=500)
    monkeypatch.setattr("models.trainer.CHECKPOINT_SECONDS", 1e-6)
    straight = run(tmp_path / "straight", "stage1", often)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", "stage1", often, stop_at=6)
    _, meta = read_tensors(tmp_path / "broken" / STATE_FILE)
    assert meta["progress"]["step"] == 5, "log stops step 6 before its state is written"
    assert run(tmp_path / "broken", "stage1", often).weights == straight.weights
    monkeypatch.setattr("models.trainer.CHECKPOINT_SECONDS", 1e6)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "seldom", "stage1", often, stop_at=6)
    assert not (tmp_path / "seldom" / STATE_FILE).exists()


def test_finished_training_is_only_reloaded(tmp_path: Path) -> None:
    first = run(tmp_path, "stage1")
    again = run(tmp_path, "stage1", stop_at=1)
    assert again == first


@pytest.mark.parametrize(
    ("config", "data", "named"), [(TRAIN, "b", "data"), (TrainConfig(steps=15, batch_size=5), "a", "train_config")]
)
def test_state_of_another_training_is_refused(tmp_path: Path, config: TrainConfig, data: str, named: str) -> None:
    run(tmp_path, "stage1")
    with pytest.raises(ValueError, match=f"differs in {named}"):
        run(tmp_path, "stage1", config, data=data)
