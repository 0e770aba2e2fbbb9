"""What methods of one generator and one discriminator share: their two phases and the discriminator's loss."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from models import losses as terms
from models.method import Batch, Phase, Stage
from models.methods.reconstruction import ResidualMethod, signed
from models.nets.batch_statistics import batch_statistics

BETAS = (0.5, 0.999)
"""Of Adam in all phases: DCGAN's, kept by GANomaly, pix2pix and Cycle-GAN."""


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

    def _logits(self, batch: Batch, image: Tensor) -> Tensor:
        """Logits of images in [0, 1]; `batch` is what they belong to."""
        del batch
        logits: Tensor = self.discriminator(signed(image))
        return logits

    def _judge(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropy of real and generated images."""
        with torch.no_grad(), batch_statistics(self.generator):
            fake = self._fake(batch, generator)
        real, made = self._logits(batch, batch.image), self._logits(batch, fake)
        return {"judge": terms.discriminator_adversarial(real, made)}

    def _fooled(self, batch: Batch, fake: Tensor) -> Tensor:
        """The non-saturating −E[log D(fake)], with the discriminator normalised by this batch."""
        with batch_statistics(self.discriminator):
            return terms.generator_adversarial(self._logits(batch, fake), saturating=False)
