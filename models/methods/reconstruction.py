"""Base classes of methods that rebuild the image: scores from the residual, one stage, with or without a judge."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from models import losses as terms
from models.method import Batch, Method, MethodConfig, Phase, Scores, Stage, Widths, left_open, stated
from models.nets.batch_statistics import batch_statistics
from models.nets.pyramids import pyramid_widths

BETAS = (0.5, 0.999)  # of Adam in all adversarial phases: DCGAN's, kept by GANomaly, pix2pix and Cycle-GAN


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig(MethodConfig):
    """Configuration of methods made of ProxyAno's encoder and decoder."""

    widths: Widths = left_open((64, 128, 256, 512), "as ProxyAno; the size is halved between two widths", least=1)
    latent_dim: int = stated(64, "channels of the latent: ProxyAno's d", least=1)


@dataclass(frozen=True, kw_only=True)
class VectorConfig(MethodConfig):
    """Configuration of methods that describe a whole image by one vector."""

    size: tuple[int, int] = left_open((64, 64), "rows and columns of the images; training sets it")
    width: int = stated(64, "channels next to the image, doubled with each halving of the size", least=1)
    widest: int = left_open(512, "most channels; reached at 64 px", least=1)
    latent_dim: int = left_open(100, "values of the vector z", least=1)

    def __post_init__(self) -> None:
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
        """Scores of a filled batch; the method's own (B,) is the mean of |I − Î| over scored pixels by default."""
        if own is None:
            own = terms.image_mean((batch.image - rebuilt).abs(), batch.score_mask())
        residual = (batch.image - rebuilt) * batch.valid
        norm = terms.frobenius(residual, batch.score_mask())
        return Scores(latent=own, image=norm, residual=residual, reconstruction=rebuilt, proxy=rebuilt, map=residual)

    def _error(self, value: Tensor, target: Tensor, batch: Batch) -> Tensor:
        """Mean absolute error over valid pixels, of images in [0, 1], in units of [−1, 1]."""
        return terms.masked_absolute(signed(value), signed(target), batch.valid)


class ReconstructionMethod(ResidualMethod):
    """A `ResidualMethod` trained in one stage by one optimiser, over all of its sub-module `network`."""

    stages = (Stage(name="stage1", phases=(Phase(name="reconstruct", modules=("network",)),)),)
    network: nn.Module

    @abstractmethod
    def _reconstruct(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Named losses of a filled batch; without a generator there is no chance in them."""

    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """The training losses without chance."""
        return self._reconstruct(batch, None)

    def _score(self, batch: Batch) -> Scores:
        return self.scores(batch, self.masked(self.network(batch.image), batch))


def adversarial_stage(judges: tuple[str, ...], makers: tuple[str, ...]) -> Stage:
    """A stage that trains the modules `judges` and then the modules `makers` in each step."""
    phases = Phase(name="judge", modules=judges, betas=BETAS), Phase(name="generate", modules=makers, betas=BETAS)
    return Stage(name="stage1", phases=phases)


class AdversarialMethod(ResidualMethod):
    """A `generator` against a `discriminator`; a subclass adds the phase `generate`."""

    paper_rate: ClassVar[float | None] = 2e-4
    stages = (adversarial_stage(("discriminator",), ("generator",)),)
    generator: nn.Module
    discriminator: nn.Module

    @abstractmethod
    def _fake(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Images (B, C, H, W) in [0, 1] that the generator makes."""

    def _seen(self, batch: Batch, image: Tensor) -> Tensor:
        """What the discriminator sees of images in [0, 1]; `batch` is what they belong to."""
        return signed(image)

    def _judge(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropy of real and generated images."""
        with torch.no_grad(), batch_statistics(self.generator):
            fake = self._fake(batch, generator)
        real, made = (self.discriminator(self._seen(batch, image)) for image in (batch.image, fake))
        return {"judge": terms.discriminator_adversarial(real, made)}

    def _fooled(self, batch: Batch, fake: Tensor) -> Tensor:
        """The non-saturating −E[log D(fake)], with the discriminator normalised by this batch."""
        with batch_statistics(self.discriminator):
            return terms.generator_adversarial(self.discriminator(self._seen(batch, fake)), saturating=False)
