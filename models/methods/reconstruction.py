"""What methods that rebuild the image itself have in common: one stage, pixels without data, scores from a residual."""

from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from models import losses as terms
from models.card import left_open, stated
from models.method import Batch, Method, MethodConfig, Phase, Scores, Stage


@dataclass(frozen=True, kw_only=True)
class ResidualConfig(MethodConfig):
    """How a residual is taken; every `ResidualMethod` has these."""

    channels: int = field(
        default=1, metadata=left_open("1 = gray (green for fundus), as for ProxyAno beside it; 3 = RGB")
    )
    invalid_fill: float = field(
        default=0.0,
        metadata=left_open("value of pixels without data, [0, 1]; they enter no loss and no score directly"),
    )
    area_corrected: bool = field(
        default=True, metadata=left_open("‖I − Î‖_F divided by the root of the scored share, as for ProxyAno")
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        self._at_least("channels", 1)
        if not 0 <= self.invalid_fill <= 1:
            raise ValueError(f"{type(self).__name__}.invalid_fill is a value in [0, 1], got {self.invalid_fill}")

    def _at_least(self, name: str, low: float) -> None:
        if not getattr(self, name) >= low:
            raise ValueError(f"{type(self).__name__}.{name} is at least {low}, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig(ResidualConfig):
    """Configuration of methods made of ProxyAno's encoder and decoder."""

    widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512), metadata=left_open("ProxyAno's own; one size-halving between two widths")
    )
    latent_dim: int = field(default=64, metadata=stated("channels of the latent: ProxyAno's d"))
    head: str = field(default="linear", metadata=left_open("'linear' or 'sigmoid' after the last 1×1 convolution"))

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        self._at_least("latent_dim", 1)
        if min(self.widths, default=0) < 1:
            raise ValueError(f"{type(self).__name__}.widths are at least 1, got {self.widths}")
        if self.head not in ("linear", "sigmoid"):
            raise ValueError(f"{type(self).__name__}.head is one of linear, sigmoid, got {self.head!r}")


class ResidualMethod(Method):
    """A method with a reconstruction Î of the image: fills pixels without data and scores the residual I − Î."""

    config: ResidualConfig

    def filled(self, batch: Batch) -> Batch:
        """The batch with one value wherever there is no data, so that what was stored there cannot matter."""
        image = torch.where(batch.valid > 0, batch.image, self.config.invalid_fill)
        return Batch(image, batch.proxy, batch.valid, batch.scored)

    def masked(self, value: Tensor, batch: Batch) -> Tensor:
        """A rebuilt image with the fill value where there is no data, float32."""
        return torch.where(batch.valid > 0, value.float(), self.config.invalid_fill)

    def scores(self, batch: Batch, rebuilt: Tensor, own: Tensor) -> Scores:
        """Scores of a filled batch from its reconstruction and the paper's own score (B,)."""
        residual = (batch.image - rebuilt) * batch.valid
        norm = terms.frobenius(residual, batch.score_mask(), corrected=self.config.area_corrected)
        return Scores(latent=own, image=norm, residual=residual, reconstruction=rebuilt, proxy=rebuilt, map=residual)


class ReconstructionMethod(ResidualMethod):
    """A `ResidualMethod` trained in one stage by one optimiser, over all of its sub-module `network`."""

    def __init__(self) -> None:
        super().__init__()
        phase = Phase(name="reconstruct", modules=("network",))
        self.stages = (Stage(name="stage1", phases=(phase,)),)

    def losses(self, stage: str, phase: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The method's training losses."""
        if (stage, phase) != ("stage1", "reconstruct"):
            raise ValueError(f"{self.name} has no phase {phase!r} in stage {stage!r}")
        return self._losses(self.filled(batch), generator)

    def validation(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """The same losses with chance left out."""
        del stage
        return self._losses(self.filled(batch), None)

    @abstractmethod
    def _losses(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Named losses of a filled batch; without a generator there is no chance in them."""


def coarse(valid: Tensor, factor: int) -> Tensor:
    """Share of valid pixels (B, 1, h, w) in each latent position's cell."""
    return functional.avg_pool2d(valid, factor) if factor > 1 else valid
