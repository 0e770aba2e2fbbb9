"""The contract of a method: its configuration and model card, its stages and phases as data, its losses, its scores.

Legend for the whole package: B images, C channels, K of the proxy, H, W pixels, D latent channels; images are float32
in [0, 1]; masks are float32 zeros and ones; a higher score is more anomalous.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]
Widths = tuple[int, ...]


def _explained(paper: str, default: Any, why: str, **limits: Any) -> Any:
    return field(default=default, metadata={"paper": paper, "why": why, **limits})


stated, left_open, ablation = (partial(_explained, paper) for paper in ("stated", "left open", "ablation"))
"""A configuration's field whose default the paper states, leaves open, or that removes a part of the method: default,
reason, and limits: `least` and `most` of every number in it, or the `choices` of its word."""


@dataclass(frozen=True)
class Batch:
    """Images with their proxies and the pixels that hold data."""

    image: Tensor  # (B, C, H, W) float32 in [0, 1]
    proxy: Tensor | None  # (B, K, H, W) float32 in [0, 1]; None where a method or a score needs none
    valid: Tensor  # (B, 1, H, W) float32, 1 where the image holds data; losses use only these pixels
    scored: Tensor | None = None  # (B, 1, H, W) float32, 1 where image scores look; None = wherever there is data

    def true_proxy(self) -> Tensor:
        """The proxy; ValueError if the batch has none."""
        if self.proxy is None:
            raise ValueError("this stage learns from true proxies, but the batch holds none: give the source proxies")
        return self.proxy

    def score_mask(self) -> Tensor:
        """Pixels (B, 1, H, W) that count for image scores."""
        return self.valid if self.scored is None else self.scored * self.valid

    def changed(self, pixels: Change, masks: Change) -> "Batch":
        """A copy with one function applied to image and proxy, and another to the masks."""
        proxy = None if self.proxy is None else pixels(self.proxy)
        return Batch(pixels(self.image), proxy, masks(self.valid), None if self.scored is None else masks(self.scored))

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device, image and proxy in channels-last layout."""
        return self.changed(
            lambda value: value.to(device, memory_format=torch.channels_last, non_blocking=True),
            lambda mask: mask.to(device, non_blocking=True),
        )

    def single(self, row: int) -> "Batch":
        """One image as a batch, copied to one memory layout so that its arithmetic is always the same."""

        def one(value: Tensor) -> Tensor:
            shape = (1, *value.shape[1:])
            return value.new_empty(shape).contiguous(memory_format=torch.channels_last).copy_(value[row : row + 1])

        return self.changed(one, one)

    def mirrored(self, rows: Tensor) -> "Batch":
        """A copy in which the images where `rows` (B,) bool is True are flipped left to right."""

        def flipped(value: Tensor) -> Tensor:
            return torch.where(rows[:, None, None, None], value.flip(-1), value)

        return self.changed(flipped, flipped)


@dataclass(frozen=True)
class Scores:
    """Results of a method on a batch."""

    latent: Tensor  # (B,) image score in latent space; a method without one repeats the image-space score
    image: Tensor  # (B,) image score in image space
    residual: Tensor  # (B, C, H, W) signed I − Î, zero where the image holds no data
    reconstruction: Tensor  # (B, C, H, W) Î
    proxy: Tensor  # (B, K, H, W) predicted proxy; Î again for a method without one
    map: Tensor  # (B, C, H, W) becomes the pixel score: the residual, unless a method marks pixels itself


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One optimiser: what it updates and how often."""

    name: str
    modules: tuple[str, ...]  # sub-modules of the method, by attribute name; all others are frozen
    betas: tuple[float, float] = (0.9, 0.999)  # of Adam
    every: int = 1  # runs at every n-th step


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Phases that are trained together, one after the other within each step."""

    name: str
    phases: tuple[Phase, ...]


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Root of the methods' configurations; every field is `stated`, `left_open` or an `ablation`."""

    channels: int = left_open(1, "1 = gray (green for fundus), the authors' habit elsewhere; 3 = RGB", least=1)
    invalid_fill: float = left_open(
        0.0, "value of pixels without data, [0, 1]; they enter no loss and no score", least=0, most=1
    )

    def __post_init__(self) -> None:
        """ValueError where a field breaks its limits."""
        for one in fields(self):
            value, limits = getattr(self, one.name), one.metadata
            numbers = value if isinstance(value, tuple) else (value,)
            name = f"{type(self).__name__}.{one.name}"
            if "least" in limits and not (numbers and min(numbers) >= limits["least"]):
                raise ValueError(f"{name} is at least {limits['least']}, got {value}")
            if "most" in limits and not max(numbers) <= limits["most"]:
                raise ValueError(f"{name} is at most {limits['most']}, got {value}")
            if "choices" in limits and value not in limits["choices"]:
                raise ValueError(f"{name} is one of {', '.join(limits['choices'])}, got {value!r}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, tuples as lists."""
        return {name: _listed(value) for name, value in asdict(self).items()}

    def of_first_stage(self) -> Self:
        """The configuration with all fields that the first stage does not read at one value: equal means shared."""
        return self

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_json`; ValueError for unknown fields, missing ones take their defaults."""
        known = {one.name for one in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"{cls.__name__} has no field {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        return cls(**{name: _tupled(value) for name, value in values.items()})


class Method(nn.Module, ABC):
    """A network with stages to train and a score; `METHODS` lists all methods."""

    name: ClassVar[str]
    label: ClassVar[str]  # for people
    config_type: ClassVar[type[MethodConfig]]
    paper_rate: ClassVar[float | None] = None  # constant learning rate of the method's paper; None: as ProxyAno's
    needs_proxy: ClassVar[bool] = False  # whether scores read `Batch.proxy` (all training batches have it)
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # other scores of one checkpoint: name → fields
    stages: tuple[Stage, ...]  # a class attribute; an instance may have its own
    config: MethodConfig

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        self.config = config

    def losses(self, stage: str, phase: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named finite losses of one phase, their weights applied: the trainer minimises their sum.

        The method `_judge` computes the losses of a phase named `judge`, and so on; its batch is `filled`.
        """
        if phase not in {one.name for one in self.stage(stage).phases}:
            raise ValueError(f"{self.name} has no phase {phase!r} in stage {stage!r}")
        compute: Callable[[Batch, torch.Generator], dict[str, Tensor]] = getattr(self, f"_{phase}")
        return compute(self.filled(batch), generator)

    def validation(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Losses on normal images, in eval mode and without chance: their sum decides when to stop."""
        return self._validate(stage, self.filled(batch))

    @abstractmethod
    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]: ...

    @abstractmethod
    def _score(self, batch: Batch) -> Scores: ...

    def filled(self, batch: Batch) -> Batch:
        """The batch with the fill value in image and proxy where there is no data: what was stored there is ignored."""
        proxy = None if batch.proxy is None else self.masked(batch.proxy, batch)
        return replace(batch, image=self.masked(batch.image, batch), proxy=proxy)

    def masked(self, value: Tensor, batch: Batch) -> Tensor:
        """An image with the fill value where there is no data, float32."""
        return torch.where(batch.valid > 0, value.float(), self.config.invalid_fill)

    def score(self, batch: Batch) -> Scores:
        """Scores of a batch, bit for bit independent of its size and order; RuntimeError in training mode.

        Images are scored one at a time: a whole batch may use another convolution kernel and round differently, and
        a latent at equal distance from two memory items would then take the other one.
        """
        if self.training:
            raise RuntimeError("scores are taken in eval mode: call method.eval() first")
        with torch.no_grad():
            found = [self._score(self.filled(batch.single(row))) for row in range(len(batch.image))]
        return Scores(**{f.name: torch.cat([getattr(each, f.name) for each in found]) for f in fields(Scores)})

    def diagnostics(self, stage: str) -> dict[str, float]:
        """Figures to log beside the losses, such as the perplexity of a memory."""
        return {}

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        named = {stage.name: stage for stage in self.stages}
        if name not in named:
            raise ValueError(f"{self.name} has no stage {name!r}; it has {', '.join(named)}")
        return named[name]

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


def model_card(config: MethodConfig) -> str:
    """Markdown table with a row for each field; a value that differs from the default is bold."""
    rows = ["| choice | value | default | paper | why |", "|---|---|---|---|---|"]
    for one in fields(config):
        value = getattr(config, one.name)
        shown = f"`{value}`" if value == one.default else f"**`{value}`**"
        paper, why = one.metadata["paper"], one.metadata["why"].replace("|", "∣")
        rows.append(f"| {one.name} | {shown} | `{one.default}` | {paper} | {why} |")
    return "\n".join(rows) + "\n"


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list | tuple) else value
