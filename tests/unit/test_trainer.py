"""The trainer: early stopping, schedules, precision, logs, sources and refusals."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.batches import TrainingDivergedError
from models.checkpoint import STATE_FILE
from models.method import Batch, Method
from models.methods import build
from models.methods.proxyano import ProxyAno
from models.schedule import TrainConfig, last_step, latest_fall, learning_rate
from models.source import Order, TensorSource
from models.trainer import fit
from tests.unit.short_training import METHOD, TRAIN, run, source

pytestmark = pytest.mark.slow


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
    plain = run(tmp_path / "plain", "stage1", replace(TRAIN))
    assert "bfloat16" not in caplog.text
    mixed = run(tmp_path / "mixed", "stage1", replace(TRAIN, precision="bf16-mixed"))
    assert "no bfloat16" in caplog.text
    assert mixed.precision == plain.precision == "32-true"
    assert mixed.weights == plain.weights


def test_a_cpu_with_bfloat16_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.trainer.bfloat16_on_cpu", lambda: True)
    mixed = run(tmp_path, "stage1", replace(TRAIN, steps=1, precision="bf16-mixed"))
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
        TrainConfig(**wrong)


def test_config_survives_json() -> None:
    assert TrainConfig(**json.loads(json.dumps(TRAIN.to_json()))) == TRAIN


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
