"""One trainer for every method: device and precision from Lightning Fabric, a budget in steps, exact resume.

A step draws a batch and runs the stage's phases on it, each with its own optimiser. With several processes (ranks)
each takes an equal part of the batch (`models.ranks`), and gradients are averaged by hand after each phase's backward:
`DistributedDataParallel` would rename the weights, forward one module alone, and see neither the losses nor the phases
of a method. Ranks start from equal weights and take equal steps, so nothing else is sent.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam
from tqdm import tqdm

from models import ranks
from models.arithmetic import bfloat16_on_cpu, deterministic, warn_if_not_reproducible
from models.batches import Batches, Unread
from models.checkpoint import Progress, TrainingState, content_hash
from models.method import Batch, Method, Phase, Stage
from models.prediction import validation_losses
from models.schedule import TrainConfig, last_step, latest_fall, learning_rate
from models.source import Source, varied

CHECKPOINT_SECONDS = 60.0
"""Most seconds between resumable states: a killed training loses no more."""

_log = logging.getLogger(__name__)
Log = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class TrainResult:
    """How a stage's training ended; the method passed to `fit` holds the resulting weights, in eval mode."""

    steps: int  # steps done
    best_step: int  # step of the lowest validation loss
    best_value: float  # that loss
    stopped_early: bool
    seconds: float  # over all processes that worked on it
    weights: str  # content hash of the whole method
    history: list[dict[str, float]]  # evaluations: step, validation losses, their sum as "validation"
    precision: str  # the precision used on this machine
    window: int = 0  # rows that were shuffled together; 0 = all


def fit(
    method: Method,
    stage: str,
    train: Source,
    validation: Source,
    config: TrainConfig,
    folder: Path,
    *,
    seed: int,
    log: Log | None = None,
    data: str = "",
    title: str = "",
    progress: bool = True,
    devices: int = 1,
    nodes: int = 1,
) -> TrainResult:
    """Train one stage of a method in place and return how it went.

    `validation` holds normal images only. `folder` keeps the resumable state: a call with the same arguments resumes
    from it, and a finished training is only reloaded. `data` is the version of the data. `title` names the progress
    bar. `log` gets (steps done, figures); after a kill it may get some steps twice. If torchrun or SLURM started
    `nodes` × `devices` processes, each calls this: the first writes the state, and any number of them may resume it.
    ValueError if the state belongs to other data, configuration or seed, or the processes cannot share a batch;
    TrainingDivergedError if a loss is not finite.
    """
    warn_if_not_reproducible()
    with torch.random.fork_rng(), deterministic():
        torch.manual_seed(seed)
        run = _Run(method, method.stage(stage), train, validation, config, folder, seed, data, devices, nodes)
        return run.train(log or (lambda step, figures: None), title=title or stage, progress=progress)


class _Run:
    """One stage in training."""

    def __init__(
        self,
        method: Method,
        stage: Stage,
        train: Source,
        validation: Source,
        config: TrainConfig,
        folder: Path,
        seed: int,
        data: str,
        devices: int = 1,
        nodes: int = 1,
    ) -> None:
        from lightning_fabric import Fabric  # two seconds to import, and most commands train nothing

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it repeats the precision for every stage
        self.precision = config.precision
        if config.precision != "32-true" and not (torch.accelerator.is_available() or bfloat16_on_cpu()):
            self.precision = "32-true"  # emulation is an order of magnitude slower; the weights are float32 anyway
            _log.warning("this CPU has no bfloat16: training in 32-true instead of %s", config.precision)
        if config.batch_size % (devices * nodes):
            have = f"batch_size {config.batch_size}, {devices * nodes} processes"
            raise ValueError(f"every process takes an equal part of a batch, got {have}: choose a divisor")
        many: dict[str, Any] = {"strategy": "ddp", "num_nodes": nodes} if devices * nodes > 1 else {}
        self.fabric = Fabric(accelerator="auto", devices=devices, precision=self.precision, **many)  # type: ignore[arg-type]
        self.fabric.launch()
        self.stage, self.config, self.folder = stage, config, folder
        self.validation_source, self.order = validation, train.order(config.batch_size, seed)
        self.fingerprint: dict[str, Any] = {
            "method": method.name,
            "method_config": method.config.to_json(),
            "stage": stage.name,
            "train_config": config.to_json(),
            "seed": seed,
            "data": data,
            "shape": [list(train.shape), list(validation.shape)],
            "start": content_hash(method.state_dict()),
        }
        if 0 < self.order.window < len(train):
            self.fingerprint["window"] = self.order.window
        self.method: Method = method.to(self.fabric.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.active: Phase | None = None  # whose modules are in training mode
        self.optimisers: dict[str, Adam] = {}
        for phase in stage.phases:
            parameters = [value for module in phase.modules for value in method.get_submodule(module).parameters()]
            self.optimisers[phase.name] = Adam(parameters, lr=config.learning_rate, betas=phase.betas)
        generator = torch.Generator().manual_seed(seed)
        self.state = TrainingState(method, self.optimisers, generator, {}, {}, Progress())
        self.batches = Batches(train, self.order, self.fabric, config.steps)
        self.losses = Unread(self.fabric)

    def train(self, log: Log, *, title: str, progress: bool) -> TrainResult:
        """Run the remaining steps."""
        if not self.state.load(self.folder, self.fingerprint) and self.config.weight_average:
            self.state.average = {name: value.detach().clone() for name, value in self._trained().items()}
        self.fabric.barrier()  # all have read the state before one writes the next
        done = self.state.progress
        self.started = time.perf_counter() - done.seconds
        self.logged_at, self.saved_at = (time.perf_counter(), done.step), time.perf_counter()
        steps = self.config.steps
        hidden = not (progress and self.fabric.is_global_zero)
        try:
            with tqdm(total=steps, initial=done.step, desc=title, unit="step", disable=hidden) as bar:
                while not done.done:
                    self._step()
                    done.step += 1
                    bar.update()
                    if done.step % self.config.log_every == 0:
                        log(done.step, self._figures())
                    self._after_step(log)
        finally:
            self.batches.close()
            self.validation_source.close()
        self.fabric.barrier()  # the state is written before any rank returns
        return self._result()

    def _after_step(self, log: Log) -> None:
        done, config = self.state.progress, self.config
        last = done.step >= last_step(config, done.fall_from)
        if last or done.step % config.evaluate_every == 0:
            log(done.step, self._evaluate())
        settled = 0 < config.patience <= done.bad
        if config.schedule == "plateau":
            if done.fall_from is None and (settled or done.step >= latest_fall(config)):
                done.fall_from = done.step
            done.done, done.stopped_early = last, last and done.step < config.steps
        else:
            done.stopped_early = settled and not last
            done.done = last or done.stopped_early
        if done.done or done.step % config.checkpoint_every == 0 or self._waited():
            self.losses.read(self.state.progress.window)
            done.seconds = time.perf_counter() - self.started
            if self.fabric.is_global_zero:
                self.state.save(self.folder, self.fingerprint)
            self.saved_at = time.perf_counter()

    def _waited(self) -> bool:
        """Whether the last state is old: by the first rank's clock, which all ask when they log."""
        waited = time.perf_counter() - self.saved_at >= CHECKPOINT_SECONDS
        if self.fabric.world_size == 1:
            return waited
        return self.state.progress.step % self.config.log_every == 0 and self.fabric.broadcast(waited)

    def _step(self) -> None:
        done, config, generator = self.state.progress, self.config, self.state.generator
        batch = self.batches.take(done.step).to(self.fabric.device)
        with ranks.together(self.fabric):
            flips = ranks.mine(torch.rand(config.batch_size, generator=generator) < 0.5)
            batch = batch.mirrored(flips.to(self.fabric.device))
            batch = varied(batch, generator, move=config.move, tone=config.tone)
            for phase in self.stage.phases:
                if done.step % phase.every == 0:
                    self._update(phase, batch)
        done.window_steps += 1
        if self.state.average:
            self._average()

    def _update(self, phase: Phase, batch: Batch) -> None:
        optimiser, done = self.optimisers[phase.name], self.state.progress
        if self.active is not phase:
            self.method.activate(phase)
            self.active = phase
        (group,) = optimiser.param_groups
        group["lr"] = rate = learning_rate(self.config, done.step, done.fall_from)
        with self.fabric.autocast():
            named = self.method.losses(self.stage.name, phase.name, batch, self.state.generator)
            total = self.losses.add(f"{self.method.name} {self.stage.name}", done.step, phase, rate, named)
        optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        ranks.average_gradients(group["params"])
        if self.config.gradient_clip:
            torch.nn.utils.clip_grad_norm_(group["params"], self.config.gradient_clip)
        optimiser.step()

    def _figures(self) -> dict[str, float]:
        """Mean losses since the last log line, learning rate, speed, and the method's diagnostics."""
        self.losses.read(self.state.progress.window)
        done = self.state.progress
        figures = {f"train/{name}": value / done.window_steps for name, value in done.window.items()}
        done.window, done.window_steps = {}, 0
        now, (before, step) = time.perf_counter(), self.logged_at
        figures["images_per_second"] = (done.step - step) * self.config.batch_size / max(now - before, 1e-9)
        self.logged_at = (now, done.step)
        figures["learning_rate"] = learning_rate(self.config, done.step - 1, done.fall_from)
        return figures | self.method.diagnostics(self.stage.name)

    def _evaluate(self) -> dict[str, float]:
        """Validation losses (with averaged weights where configured); keeps the best weights so far."""
        self.losses.read(self.state.progress.window)
        done, about = self.state.progress, (self.method, self.stage.name)
        held = {name: value.clone() for name, value in self._trained().items()} if self.state.average else {}
        self._put(self.state.average)
        self.active = None
        figures = validation_losses(*about, self.validation_source, self.config.batch_size, self.fabric)
        value = figures["validation"]
        done.bad += 1
        if done.best_value is None or value < done.best_value:
            done.best_value, done.best_step, done.bad = value, done.step, 0
            self.state.best = {name: tensor.cpu().clone() for name, tensor in self._trained().items()}
        self._put(held)
        done.history.append({"step": float(done.step), **figures})
        return {name if name == "validation" else f"validation/{name}": value for name, value in figures.items()}

    def _trained(self) -> dict[str, Tensor]:
        """Weights and buffers that this stage changes, by full name."""
        prefixes = tuple(f"{module}." for module in self.method.modules_of(self.stage.name))
        return {name: value for name, value in self.method.state_dict().items() if name.startswith(prefixes)}

    def _average(self) -> None:
        decay = min(self.config.weight_average, (self.state.progress.step + 1) / (self.state.progress.step + 10))
        own = self._trained()
        for name, value in self.state.average.items():
            if value.is_floating_point():
                value.lerp_(own[name], 1 - decay)
            else:
                value.copy_(own[name])

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        own = self.method.state_dict()
        for name, value in weights.items():
            own[name].copy_(value)

    def _result(self) -> TrainResult:
        done = self.state.progress
        if done.best_value is None:
            why = "holds a finished training without an evaluation"
            raise ValueError(f"{self.folder} {why}: delete it, then train again")
        self._put(self.state.best if self.config.keep_best else self.state.average)
        self.method.eval().requires_grad_(True)
        return TrainResult(
            steps=done.step,
            best_step=done.best_step,
            best_value=done.best_value,
            stopped_early=done.stopped_early,
            seconds=done.seconds,
            weights=content_hash(self.method.state_dict()),
            history=done.history,
            precision=self.precision,
            window=self.fingerprint.get("window", 0),
        )
