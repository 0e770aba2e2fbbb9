"""The trainer: exact resume after a kill, early stopping, schedules, averaging, refusals."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.files import read_tensors
from models.method import Batch, Method
from models.methods import build
from models.methods.proxyano import ProxyAno
from models.methods.proxyano_config import ProxyAnoConfig
from models.schedule import TrainConfig, last_step, latest_fall, learning_rate
from models.source import Order, TensorSource
from models.trainer import TrainingDivergedError, TrainResult, fit
from models.training_state import STATE_FILE

pytestmark = pytest.mark.slow

METHOD = ProxyAnoConfig(widths=(4, 6), latent_dim=4, memory_items=8, discriminator_widths=(4, 6))
TRAIN = TrainConfig(
    steps=14, batch_size=5, schedule="one_cycle", weight_average=0.9, evaluate_every=3, checkpoint_every=4, log_every=2
)


def source(count: int, seed: int) -> TensorSource:
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (count, 1, 4, 4), generator=draw, dtype=torch.uint8)
    proxies = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)
    noise = torch.randint(0, 30, proxies.shape, generator=draw, dtype=torch.uint8)
    valid = torch.ones(count, 16, 16, dtype=torch.uint8)
    valid[:, :, 13:] = 0
    return TensorSource(images=proxies // 2 + noise, proxies=proxies // 2, valid=valid)


def run(folder: Path, stage: str, config: TrainConfig = TRAIN, *, stop_at: int = 0, data: str = "a") -> TrainResult:
    """Train a fresh method; with `stop_at`, break off at that step as a kill would."""

    def log(step: int, figures: dict[str, float]) -> None:
        assert all(isinstance(value, float) for value in figures.values())
        if step == stop_at:
            raise KeyboardInterrupt

    method = build("proxyano", METHOD, seed=0)
    return fit(method, stage, source(23, 0), source(7, 1), config, folder, seed=4, log=log, data=data, progress=False)


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
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
import test_trainer
def kill(step, figures):
    if step == 10:
        os.kill(os.getpid(), signal.SIGKILL)
method = test_trainer.build("proxyano", test_trainer.METHOD, seed=0)
test_trainer.fit(method, "stage2", test_trainer.source(23, 0), test_trainer.source(7, 1), test_trainer.TRAIN,
                 Path(sys.argv[1]), seed=4, log=kill, data="a", progress=False)
"""


def test_resume_after_sigkill(tmp_path: Path) -> None:
    here, project = Path(__file__).parent, Path(__file__).parents[2]
    straight = run(tmp_path / "straight", "stage2")
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path / "killed"), str(here)],
        check=False,
        env=os.environ | {"PYTHONPATH": str(project)},
    )
    assert killed.returncode == -signal.SIGKILL
    _, meta = read_tensors(tmp_path / "killed" / STATE_FILE)
    assert meta["progress"]["step"] == 8
    resumed = run(tmp_path / "killed", "stage2")
    assert resumed.weights == straight.weights
    assert_same_state(tmp_path / "straight", tmp_path / "killed")


def test_a_state_is_written_by_time_too(tmp_path: Path) -> None:
    often = replace(TRAIN, checkpoint_every=500, checkpoint_seconds=1e-6)
    straight = run(tmp_path / "straight", "stage1", often)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", "stage1", often, stop_at=6)
    _, meta = read_tensors(tmp_path / "broken" / STATE_FILE)
    assert meta["progress"]["step"] == 5, "log stops step 6 before its state is written"
    assert run(tmp_path / "broken", "stage1", often).weights == straight.weights
    seldom = replace(TRAIN, checkpoint_every=500, checkpoint_seconds=1e6)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "seldom", "stage1", seldom, stop_at=6)
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


class Worsening(ProxyAno):
    """A method whose validation loss grows at every evaluation."""

    calls = 0

    def validation(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        self.calls += 1
        return {"proxy": torch.tensor(float(self.calls))}


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    settings = {"batch_size": 5, "evaluate_every": 2, "log_every": 1}
    method = _fresh(Worsening)
    patient = TrainConfig(steps=20, patience=2, **settings)
    result = fit(method, "stage1", source(23, 0), source(5, 1), patient, tmp_path / "a", seed=4, progress=False)
    assert (result.steps, result.best_step, result.stopped_early) == (6, 2, True)
    short = _fresh(Worsening)
    two = TrainConfig(steps=2, **settings)
    expected = fit(short, "stage1", source(23, 0), source(5, 1), two, tmp_path / "b", seed=4, progress=False)
    assert result.weights == expected.weights
    last = _fresh(Worsening)
    keep_last = TrainConfig(steps=20, patience=2, keep_best=False, **settings)
    other = fit(last, "stage1", source(23, 0), source(5, 1), keep_last, tmp_path / "c", seed=4, progress=False)
    assert other.weights != expected.weights


def test_on_a_plateau_the_rate_falls_to_zero_and_training_ends(tmp_path: Path) -> None:
    settings = {"batch_size": 5, "evaluate_every": 2, "log_every": 1, "schedule": "plateau"}
    patient = TrainConfig(steps=40, patience=3, **settings)
    rates: dict[int, float] = {}

    def log(step: int, figures: dict[str, float]) -> None:
        rates.update({step: figures["learning_rate"]} if "learning_rate" in figures else {})

    method = _fresh(Worsening)
    result = fit(
        method, "stage1", source(23, 0), source(5, 1), patient, tmp_path / "a", seed=4, progress=False, log=log
    )
    assert (result.steps, result.stopped_early) == (10, True), (
        "three evaluations after the best: step 8, a quarter more"
    )
    assert rates[8] == rates[9] > rates[10], "a fall of two steps"
    assert rates[10] == pytest.approx(1e-4 * rates[8])
    budget = TrainConfig(steps=10, **settings)
    whole = fit(
        _fresh(Worsening), "stage1", source(23, 0), source(5, 1), budget, tmp_path / "b", seed=4, progress=False
    )
    assert (whole.steps, whole.stopped_early) == (10, False), "without patience the fall ends with the budget"


def _fresh(kind: type[ProxyAno]) -> Method:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(METHOD)


class Diverging(ProxyAno):
    """A method whose loss is not a number."""

    def losses(self, stage: str, phase: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"proxy": super().losses(stage, phase, batch, generator)["proxy"] * torch.nan}


def test_a_loss_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingDivergedError, match=r"step 1.*nan"):
        fit(_fresh(Diverging), "stage1", source(9, 0), source(5, 1), TRAIN, tmp_path, seed=4, progress=False)
    assert not (tmp_path / STATE_FILE).exists()


def test_bf16_training_keeps_float32_weights_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = build("proxyano", METHOD, seed=0)
    monkeypatch.setattr("models.trainer.bfloat16_on_cpu", lambda: True)
    config = TrainConfig(steps=4, batch_size=5, precision="bf16-mixed", gradient_clip=1.0)
    fit(method, "stage1", source(9, 0), source(5, 1), config, tmp_path, seed=4, progress=False)
    values = method.state_dict().values()
    assert all(value.dtype == torch.float32 for value in values if value.is_floating_point())
    assert all(torch.isfinite(value.float()).all() for value in values)


def test_a_cpu_without_bfloat16_trains_in_full_precision_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("models.trainer.bfloat16_on_cpu", lambda: False)
    plain = run(tmp_path / "plain", "stage1", replace(TRAIN, device="cpu"))
    assert "bfloat16" not in caplog.text
    mixed = run(tmp_path / "mixed", "stage1", replace(TRAIN, device="cpu", precision="bf16-mixed"))
    assert "no bfloat16" in caplog.text
    assert mixed.precision == plain.precision == "32-true"
    assert mixed.weights == plain.weights


def test_a_cpu_with_bfloat16_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.trainer.bfloat16_on_cpu", lambda: True)
    mixed = run(tmp_path, "stage1", replace(TRAIN, steps=1, device="cpu", precision="bf16-mixed"))
    assert mixed.precision == "bf16-mixed"


def test_global_randomness_and_determinism_are_left_as_they_were(tmp_path: Path) -> None:
    before, strict = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    run(tmp_path, "stage1")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.are_deterministic_algorithms_enabled() == strict


def test_log_lines_carry_losses_speed_and_perplexity(tmp_path: Path) -> None:
    lines: list[tuple[int, dict[str, float]]] = []
    method = build("proxyano", METHOD, seed=0)
    fit(
        method,
        "stage1",
        source(23, 0),
        source(7, 1),
        TRAIN,
        tmp_path,
        seed=4,
        log=lambda step, figures: lines.append((step, figures)),
        progress=False,
    )
    training = [figures for step, figures in lines if "train/proxy" in figures]
    evaluations = [(step, figures) for step, figures in lines if "validation" in figures]
    assert len(training) == 7
    assert {"train/commitment", "learning_rate", "images_per_second", "perplexity"} <= training[0].keys()
    assert [step for step, _ in evaluations] == [3, 6, 9, 12, 14]
    assert evaluations[0][1]["validation"] == pytest.approx(evaluations[0][1]["validation/proxy"])


def test_order_shows_every_row_once_an_epoch() -> None:
    order = Order(10, 4, seed=1)
    rows = torch.cat([order.rows(step) for step in range(10)])
    for epoch in rows.split(10):
        assert sorted(epoch.tolist()) == list(range(10))
    assert not torch.equal(rows[:10], rows[10:20])
    assert torch.equal(order.rows(3), Order(10, 4, seed=1).rows(3))
    assert sorted(Order(3, 7, seed=0).rows(0).unique().tolist()) == [0, 1, 2]


def test_schedules() -> None:
    cycle = TrainConfig(steps=100, learning_rate=1.0, schedule="one_cycle")
    assert learning_rate(cycle, 0) == pytest.approx(1 / 25)
    assert learning_rate(cycle, 30) == pytest.approx(1.0)
    assert learning_rate(cycle, 99) == pytest.approx(1e-4)
    cosine = TrainConfig(steps=100, learning_rate=1.0, schedule="cosine")
    assert learning_rate(cosine, 0) == pytest.approx(1.0)
    assert learning_rate(cosine, 99) == pytest.approx(1e-4)
    assert {learning_rate(TrainConfig(), step) for step in range(100)} == {1e-3}
    plateau = TrainConfig(steps=1000, learning_rate=1.0, schedule="plateau")
    assert learning_rate(plateau, 0) == pytest.approx(1 / 100)
    assert learning_rate(plateau, 500) == 1.0
    assert learning_rate(plateau, 499, 400) == pytest.approx(1e-4)
    assert learning_rate(plateau, 450, 400) == pytest.approx(0.5, abs=0.05)
    assert (last_step(plateau, None), last_step(plateau, 400)) == (1000, 500)
    assert last_step(plateau, latest_fall(plateau)) == 1000
    assert learning_rate(TrainConfig(steps=1, schedule="one_cycle"), 0) > 0


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"schedule": "linear"}, {"learning_rate": 0.0}, {"weight_average": 1.0}, {"patience": -1}]
)
def test_config_refuses_values_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainConfig.from_json(wrong)


def test_config_survives_json() -> None:
    assert TrainConfig.from_json(TRAIN.to_json()) == TRAIN


def test_source_refuses_what_does_not_fit() -> None:
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="images is"):
        TensorSource(images=images.float())
    with pytest.raises(ValueError, match="proxies is"):
        TensorSource(images=images, proxies=images[:1])
    with pytest.raises(ValueError, match="valid is"):
        TensorSource(images=images, valid=torch.ones(2, 8, 7))
    with pytest.raises(ValueError, match="scored is"):
        TensorSource(images=images, scored=torch.ones(1, 8, 8))


def test_mirrored_batches_keep_everything_together() -> None:
    held = source(4, 0)
    one = TensorSource(images=held.images, proxies=held.proxies, valid=held.valid, scored=held.valid)
    batch = one.batch(torch.arange(4))
    turned = batch.mirrored(torch.tensor([True, False, True, False]))
    for name in ("image", "proxy", "valid", "scored"):
        before, after = getattr(batch, name), getattr(turned, name)
        assert torch.equal(after[[0, 2]], before[[0, 2]].flip(-1))
        assert torch.equal(after[[1, 3]], before[[1, 3]])
