"""Batches of a training, read one step ahead by a thread, and the losses that steps leave on the device."""

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from models.method import Batch, Phase
from models.source import Order, Source

if TYPE_CHECKING:  # two seconds to import
    from lightning_fabric import Fabric


class TrainingDivergedError(RuntimeError):
    """A loss is not finite."""


class Batches:
    """This rank's part of the batch of each step, on the CPU; pinned where it goes to a GPU."""

    def __init__(self, source: Source, order: Order, fabric: "Fabric", steps: int) -> None:
        self.source, self.order, self.fabric, self.steps = source, order, fabric, steps
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._ahead: tuple[int, Future[Batch]] | None = None  # a step, and its batch

    def take(self, step: int) -> Batch:
        """The batch of a step; the next step's is read meanwhile."""
        held, self._ahead = self._ahead, None
        batch = held[1].result() if held and held[0] == step else self._load(step)
        if step + 1 < self.steps:
            self._ahead = step + 1, self._reader.submit(self._load, step + 1)
        return batch

    def close(self) -> None:
        """Stop reading, and let go of what was read."""
        self._reader.shutdown(cancel_futures=True)
        self.source.close()

    def _load(self, step: int) -> Batch:
        self.source.prepare(self.order, step)
        rows = self.order.rows(step).chunk(self.fabric.world_size)[self.fabric.global_rank]
        batch = self.source.batch(rows)
        return batch.changed(Tensor.pin_memory, Tensor.pin_memory) if self.fabric.device.type == "cuda" else batch


class _Losses(NamedTuple):
    """Losses of one phase in one step, still on the device."""

    where: str
    step: int
    phase: Phase
    rate: float
    names: tuple[str, ...]
    values: Tensor


@dataclass
class Unread:
    """Losses that were not read yet: reading makes the host wait for the device, so it is done for many steps at once.

    A step that diverged is found at the next log line, evaluation or state, before anything of it is kept.
    """

    fabric: "Fabric"
    held: list[_Losses] = field(default_factory=list)

    def add(self, where: str, step: int, phase: Phase, rate: float, named: dict[str, Tensor]) -> Tensor:
        """Note the losses of a phase (`rate`: its learning rate) and return their sum."""
        values = torch.stack([value.float() for value in named.values()])
        self.held.append(_Losses(where, step, phase, rate, tuple(named), values.detach()))
        return values.sum()

    def read(self, sums: dict[str, float]) -> None:
        """Add the losses, averaged over the ranks, to `sums`; TrainingDivergedError if one is not finite."""
        held, self.held = self.held, []
        if not held:
            return
        values = self.fabric.all_reduce(torch.cat([one.values for one in held]))
        assert isinstance(values, Tensor)
        found = iter(values.tolist())
        for one in held:
            figures = {name: next(found) for name in one.names}
            if not math.isfinite(sum(figures.values())):
                where = f"{one.where}/{one.phase.name}, step {one.step + 1}"
                remedy = f"lower the learning rate ({one.rate:.2g}) or set gradient_clip"
                raise TrainingDivergedError(f"{where}: losses {figures}; {remedy}")
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + value * one.phase.every
