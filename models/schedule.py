"""How a stage is trained: the configuration, the learning rate as a function of the step, and whether it converged."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

SCHEDULES = ("constant", "one_cycle", "plateau")
PRECISIONS = ("32-true", "bf16-mixed")
_RISE = 0.3  # share of the steps in which one_cycle rises
_START = 1 / 25  # first learning rate of one_cycle, as a share of the highest
_END = 1e-4  # last learning rate of one_cycle and plateau, as a share of the highest
_WARM = 100  # steps in which plateau rises
_FALL = 0.25  # length of plateau's fall, as a share of the steps before it
SETTLED = 0.02
"""A stage has converged if its last quarter of steps lowered the best validation loss by at most this share."""
_LEAST = 4  # evaluations without which the gain of the last steps is unknown


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Budget and optimiser of one stage: Adam, as in the paper; images are mirrored left to right at random."""

    steps: int = 1000  # optimiser steps of each phase, ≥ 1
    batch_size: int = 32  # images
    learning_rate: float = 1e-3  # highest of the schedule; the paper's is 1e-3, constant
    schedule: str = "constant"  # constant | one_cycle | plateau (validation sets the length, see patience)
    precision: str = "32-true"  # 32-true | bf16-mixed
    move: float = 0.0  # random shift (share of a side), stretch of each axis and turn (radians), each up to this much
    tone: float = 0.0  # random gain about the image's mean, 1 ± tone, and gamma, exp(± tone)
    gradient_clip: float = 0.0  # largest gradient norm of a phase; 0 = no clipping
    weight_average: float = 0.0  # decay of an exponential average of the weights used for validation; 0 = off
    evaluate_every: int = 100  # steps between evaluations on normal validation images
    patience: int = 0  # evaluations without improvement before the end (plateau: before the fall); 0 = never
    keep_best: bool = True  # end with the weights that validated best instead of the last
    checkpoint_every: int = 500  # most steps between resumable states
    log_every: int = 20  # steps between log lines (means of the steps since the last)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "evaluate_every", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"TrainConfig.{name} is at least 1, got {getattr(self, name)}")
        for name, allowed in (("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"TrainConfig.{name} is one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if not self.learning_rate > 0:
            raise ValueError(f"TrainConfig.learning_rate is above 0, got {self.learning_rate}")
        if not 0 <= self.weight_average < 1:
            raise ValueError(f"TrainConfig.weight_average is a decay in [0, 1), got {self.weight_average}")
        if not (0 <= self.move < 0.5 and 0 <= self.tone < 1):
            raise ValueError(f"TrainConfig.move is in [0, 0.5) and tone in [0, 1), got {self.move}, {self.tone}")
        if self.patience < 0 or self.gradient_clip < 0:
            raise ValueError("TrainConfig.patience and gradient_clip are at least 0 (0 = off)")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def learning_rate(config: TrainConfig, step: int, fall_from: int | None = None) -> float:
    """Learning rate of step 0 … steps − 1; ``fall_from`` is the step at which plateau's rate began to fall."""
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "plateau":
        highest = config.learning_rate * min(1.0, (step + 1 if fall_from is None else fall_from) / _WARM)
        fallen = 0.0 if fall_from is None else (step - fall_from) / max(_fall(fall_from) - 1, 1)
        return highest * _between(1.0, _END, fallen)
    rise = _RISE * config.steps
    if step < rise:
        return config.learning_rate * _between(_START, 1.0, step / rise)
    return config.learning_rate * _between(1.0, _END, (step - rise) / max(config.steps - 1 - rise, 1))


def latest_fall(config: TrainConfig) -> int:
    """Last step at which plateau's rate may begin to fall, so that the fall ends within the budget."""
    return max(1, int(config.steps / (1 + _FALL)))


def last_step(config: TrainConfig, fall_from: int | None) -> int:
    """Number of steps after which training ends; for plateau it is known once the rate falls."""
    if config.schedule != "plateau" or fall_from is None:
        return config.steps
    return min(config.steps, fall_from + _fall(fall_from))


def _fall(start: int) -> int:
    return max(1, round(_FALL * start))


def _between(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def last_gain(history: Sequence[Mapping[str, float]]) -> float | None:
    """Share by which the last quarter of the steps lowered the best validation loss on normal images, at least 0.

    `history` holds the trainer's evaluations in order. None if they are too few, or the best before is not above 0.
    """
    if len(history) < _LEAST:
        return None
    until = 0.75 * history[-1]["step"]
    before = min((entry["validation"] for entry in history if entry["step"] <= until), default=0.0)
    after = min(entry["validation"] for entry in history if entry["step"] > until)
    return max(0.0, (before - after) / before) if before > 0 else None


def converged(gains: Sequence[float | None]) -> bool | None:
    """Whether all stages have converged; None if some are unknown and none is still falling."""
    if any(gain is not None and gain > SETTLED for gain in gains):
        return False
    return None if None in gains or not gains else True
