"""The contract of a method: its stages and phases as data, its losses, its scores.

Legend for the whole package: B images, C channels, K of the proxy, H, W pixels, D latent channels; images are float32
in [0, 1]; masks are float32 zeros and ones; a higher score is more anomalous.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """Images with their proxies and the pixels that hold data."""

    image: Tensor  # (B, C, H, W) float32 in [0, 1]
    proxy: Tensor | None  # (B, K, H, W) float32 in [0, 1]; None where a method or a score needs none
    valid: Tensor  # (B, 1, H, W) float32, 1 where the image holds data: losses look only there
    scored: Tensor | None = None  # (B, 1, H, W) float32, 1 where image scores look; None = wherever there is data

    def true_proxy(self) -> Tensor:
        """The proxy; a ValueError where the batch has none."""
        if self.proxy is None:
            raise ValueError("this stage learns from true proxies, but the batch holds none: give the source proxies")
        return self.proxy

    def score_mask(self) -> Tensor:
        """Pixels (B, 1, H, W) that count for image scores."""
        return self.valid if self.scored is None else self.scored * self.valid

    def to(self, device: torch.device, *, channels_last: bool = False) -> "Batch":
        """The same batch on a device."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        proxy = None if self.proxy is None else self.proxy.to(device, memory_format=layout)
        scored = None if self.scored is None else self.scored.to(device)
        return Batch(self.image.to(device, memory_format=layout), proxy, self.valid.to(device), scored)

    def single(self, row: int) -> "Batch":
        """One image as a batch, copied to one memory layout so that its arithmetic is always the same."""

        def one(value: Tensor) -> Tensor:
            shape = (1, *value.shape[1:])
            return value.new_empty(shape).contiguous(memory_format=torch.channels_last).copy_(value[row : row + 1])

        proxy = None if self.proxy is None else one(self.proxy)
        scored = None if self.scored is None else one(self.scored)
        return Batch(one(self.image), proxy, one(self.valid), scored)

    def mirrored(self, rows: Tensor) -> "Batch":
        """A copy in which the images where `rows` (B,) bool holds are flipped left to right."""
        pick = rows[:, None, None, None]

        def turned(value: Tensor) -> Tensor:
            return torch.where(pick, value.flip(-1), value)

        return Batch(
            turned(self.image),
            None if self.proxy is None else turned(self.proxy),
            turned(self.valid),
            None if self.scored is None else turned(self.scored),
        )


@dataclass(frozen=True)
class Scores:
    """What a method says of a batch."""

    latent: Tensor  # (B,) image score in latent space; a method without one repeats the image-space score
    image: Tensor  # (B,) image score in image space
    residual: Tensor  # (B, C, H, W) signed I − Î, zero where the image holds no data
    reconstruction: Tensor  # (B, C, H, W) Î
    proxy: Tensor  # (B, K, H, W) predicted proxy; Î again where a method has none
    map: Tensor  # (B, C, H, W) what becomes the pixel score: the residual, unless a method marks pixels itself


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One optimiser: what it updates, how fast and how often."""

    name: str
    modules: tuple[str, ...]  # sub-modules of the method, by attribute name; every other module stands still
    rate: float = 1.0  # factor on the trainer's learning rate
    betas: tuple[float, float] = (0.9, 0.999)  # of Adam
    every: int = 1  # runs at every n-th step


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Phases that are trained together, one after the other within each step."""

    name: str
    phases: tuple[Phase, ...]


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Root of the methods' configurations; every field carries why it has its value (`models.card`)."""

    channels: int = 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, tuples as lists; fields of `models.card.ablation` are left out at their default."""
        unused = {f.name for f in fields(self) if "default" in f.metadata and getattr(self, f.name) == f.default}
        return {name: _listed(value) for name, value in asdict(self).items() if name not in unused}

    def of_first_stage(self) -> Self:
        """The configuration with all that the first stage does not depend on at one value: equal means shared."""
        return self

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_json`; unknown fields raise a ValueError, absent ones take their defaults."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"{cls.__name__} has no field {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        return cls(**{name: _tupled(value) for name, value in values.items()})


class Method(nn.Module, ABC):
    """A network with stages to train and a score; `METHODS` lists those there are."""

    name: ClassVar[str]
    config_type: ClassVar[type[MethodConfig]]
    needs_proxy: ClassVar[bool] = False  # do scores read `Batch.proxy`? (all training batches have it)
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # other scores of one checkpoint: name → fields
    stages: tuple[Stage, ...]  # set by the constructor: they may depend on the configuration
    config: MethodConfig

    @abstractmethod
    def losses(self, stage: str, phase: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named finite losses of one phase, their weights applied: the trainer minimises their sum."""

    @abstractmethod
    def validation(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Losses on normal images, in eval mode and without chance: their sum decides when to stop."""

    @abstractmethod
    def _score(self, batch: Batch) -> Scores: ...

    def score(self, batch: Batch) -> Scores:
        """Scores of a batch, bit for bit independent of its size, order and neighbours; only in eval mode.

        Images are scored one at a time: convolutions of a whole batch may take another kernel and round differently,
        and a latent at equal distance from two memory items then takes the other one. In training mode a RuntimeError.
        """
        if self.training:
            raise RuntimeError("scores are taken in eval mode: call method.eval() first")
        with torch.no_grad():
            found = [self._score(batch.single(row)) for row in range(len(batch.image))]
        return Scores(**{f.name: torch.cat([getattr(each, f.name) for each in found]) for f in fields(Scores)})

    def diagnostics(self, stage: str) -> dict[str, float]:
        """Figures worth logging beside the losses, e.g. a memory's perplexity."""
        del stage
        return {}

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise ValueError(f"{self.name} has no stage {name!r}; it has {', '.join(s.name for s in self.stages)}")

    def modules_of(self, stage: str) -> tuple[str, ...]:
        """Names of the sub-modules that a stage trains."""
        return tuple(dict.fromkeys(module for phase in self.stage(stage).phases for module in phase.modules))

    def activate(self, phase: Phase) -> None:
        """Put the phase's modules in training mode, and all others in eval mode without gradients."""
        self.eval()
        self.training = True
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        for module in phase.modules:
            self.get_submodule(module).train().requires_grad_(True)


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list | tuple) else value
