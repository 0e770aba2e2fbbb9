"""Sparse-GAN: an adversarial auto-encoder whose latent, seen through a small head, is kept sparse.

Zhou et al., "Sparse-GAN: Sparsity-constrained Generative Adversarial Network for Anomaly Detection in Retinal OCT
Image", ISBI 2020. There is no public code: the nets are ProxyAno's (by the same authors), the weights are ours.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from models import losses as terms
from models.card import stated
from models.method import Batch, MethodConfig, Scores
from models.methods.adversarial import AdversarialMethod
from models.methods.reconstruction import ReconstructionConfig
from models.nets.encoder_decoder import EncoderDecoder, coarse
from models.nets.patchgan import PatchGAN

SPARSE_DIM = 64
"""Channels of h, the head over the latent (our choice)."""
LAMBDA_ADVERSARIAL = 0.01
"""Weight of −E[log D] beside 1·L1 in [0, 1] (our choice): ProxyAno's λ_g."""
LAMBDA_SPARSE = 0.01
"""Weight of the mean |h| beside 1·L1 (our choice); h has variance 1."""


@dataclass(frozen=True, kw_only=True)
class SparseGANConfig(ReconstructionConfig):
    """Configuration of `SparseGAN`."""

    discriminator_widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512), metadata=stated("PatchGAN; here with spectral norm, as for ProxyAno", least=1)
    )


class SparseNetwork(nn.Module):
    """Encoder, decoder, and the sparse head h.

    The head ends in a batch norm without weights: its variance stays 1, so that |h| falls by sparser values only,
    never by smaller ones.
    """

    def __init__(self, config: SparseGANConfig) -> None:
        super().__init__()
        self.rebuild = EncoderDecoder(config.channels, config.channels, config.widths, config.latent_dim)
        self.sparse = nn.Sequential(
            nn.Conv2d(config.latent_dim, SPARSE_DIM, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(SPARSE_DIM, SPARSE_DIM, 1, bias=False),
            nn.BatchNorm2d(SPARSE_DIM, affine=False),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Rebuilt image (B, C, H, W) and h (B, S, h, w)."""
        latent, features = self.rebuild.encoder.features(image)
        return self.rebuild.decoder(latent, features), self.sparse(latent)

    def head(self, image: Tensor) -> Tensor:
        """The head h (B, S, h, w) of an image's latent."""
        value: Tensor = self.sparse(self.rebuild.encoder(image))
        return value


class SparseGAN(AdversarialMethod):
    """Loss L1 + λ_ad·adversarial + λ_sp·|h|₁; its own score is the mean of |h(x) − h(x̂)|."""

    name: ClassVar[str] = "sparse_gan"
    label: ClassVar[str] = "Sparse-GAN"
    config_type: ClassVar[type[MethodConfig]] = SparseGANConfig

    def __init__(self, config: SparseGANConfig) -> None:
        super().__init__(config)
        self.generator: SparseNetwork = SparseNetwork(config)
        self.discriminator = PatchGAN(config.channels, config.discriminator_widths, norm="spectral")

    def _generate(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        del generator
        rebuilt, head = self.generator(batch.image)
        logits = self._logits(batch, self.masked(rebuilt, batch))
        fooled = terms.generator_adversarial(logits, saturating=False)
        return self._terms(batch, rebuilt, head) | {"adversarial": LAMBDA_ADVERSARIAL * fooled}

    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """L1 and sparsity; the adversarial term is left out, as the discriminator changes what it measures."""
        del stage
        return self._terms(batch, *self.generator(batch.image))

    def _score(self, batch: Batch) -> Scores:
        """Mean |h(x) − h(x̂)| over scored positions, and the scores that all methods have."""
        rebuilt, head = self.generator(batch.image)
        rebuilt = self.masked(rebuilt, batch)
        change = (head.float() - self.generator.head(rebuilt).float()).abs()
        weight = coarse(batch.score_mask(), self.generator.rebuild.encoder.factor)
        return self.scores(batch, rebuilt, terms.image_mean(change, weight))

    def _fake(self, batch: Batch, generator: torch.Generator) -> Tensor:
        del generator
        return self.masked(self.generator(batch.image)[0], batch)

    def _logits(self, batch: Batch, image: Tensor) -> Tensor:
        """Logits of images in [0, 1], the range in which these nets work."""
        del batch
        logits: Tensor = self.discriminator(image)
        return logits

    def _terms(self, batch: Batch, rebuilt: Tensor, head: Tensor) -> dict[str, Tensor]:
        weight = coarse(batch.valid, self.generator.rebuild.encoder.factor)
        sparsity = terms.masked_absolute(head, torch.zeros_like(head), weight)
        return {
            "reconstruction": terms.masked_absolute(rebuilt, batch.image, batch.valid),
            "sparsity": LAMBDA_SPARSE * sparsity,
        }
