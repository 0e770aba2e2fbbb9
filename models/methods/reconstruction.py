"""Base classes of methods that rebuild the image: scores from the residual, and training in one stage."""

from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models import losses as terms
from models.card import left_open, stated
from models.method import Batch, Method, MethodConfig, Phase, Scores, Stage
from models.nets.vector_pyramid import pyramid_widths


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig(MethodConfig):
    """Configuration of methods made of ProxyAno's encoder and decoder."""

    widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512), metadata=left_open("as ProxyAno; the size is halved between two widths", least=1)
    )
    latent_dim: int = field(default=64, metadata=stated("channels of the latent: ProxyAno's d", least=1))


@dataclass(frozen=True, kw_only=True)
class VectorConfig(MethodConfig):
    """Configuration of methods that describe a whole image by one vector."""

    size: tuple[int, int] = field(
        default=(64, 64), metadata=left_open("rows and columns of the images; training sets it")
    )
    width: int = field(
        default=64, metadata=stated("channels next to the image, doubled with each halving of the size", least=1)
    )
    widest: int = field(default=512, metadata=left_open("most channels; reached at 64 px", least=1))
    latent_dim: int = field(default=100, metadata=left_open("values of the vector z", least=1))

    def __post_init__(self) -> None:
        """Check the limits, and that the size can be halved down to one vector."""
        super().__post_init__()
        pyramid_widths(self.size, self.width, self.widest)


def signed(image: Tensor) -> Tensor:
    """From [0, 1] to the [−1, 1] in which networks with a final tanh work."""
    return 2 * image - 1


def unsigned(value: Tensor) -> Tensor:
    """From [−1, 1] to [0, 1]."""
    return (value + 1) / 2


class ResidualMethod(Method):
    """A method with a reconstruction Î of the image, scored by the residual I − Î."""

    def scores(self, batch: Batch, rebuilt: Tensor, own: Tensor | None = None) -> Scores:
        """Scores of a filled batch from its reconstruction and the method's own score (B,).

        The default of the latter is the mean of |I − Î| over scored pixels.
        """
        if own is None:
            own = terms.image_mean((batch.image - rebuilt).abs(), batch.score_mask())
        residual = (batch.image - rebuilt) * batch.valid
        norm = terms.frobenius(residual, batch.score_mask())
        return Scores(latent=own, image=norm, residual=residual, reconstruction=rebuilt, proxy=rebuilt, map=residual)


class ReconstructionMethod(ResidualMethod):
    """A `ResidualMethod` trained in one stage by one optimiser, over all of its sub-module `network`."""

    stages = (Stage(name="stage1", phases=(Phase(name="reconstruct", modules=("network",)),)),)

    @abstractmethod
    def _reconstruct(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Named losses of a filled batch; without a generator there is no chance in them."""

    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """The training losses without chance."""
        del stage
        return self._reconstruct(batch, None)
