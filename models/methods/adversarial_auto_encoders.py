"""Adversarial auto-encoders: GANomaly and Sparse-GAN score by what changes in the latent of the rebuilt image."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from models import losses as terms
from models.method import Batch, MethodConfig, Scores, Widths, stated
from models.methods.reconstruction import AdversarialMethod, ReconstructionConfig, VectorConfig, signed, unsigned
from models.nets.batch_statistics import batch_statistics
from models.nets.encoder_decoder import EncoderDecoder, coarse
from models.nets.pyramids import VectorDecoder, VectorEncoder
from models.nets.translation import PatchGAN
from models.ranks import BatchNorm

LAMBDA_CONTEXTUAL = 50.0
"""GANomaly: weight of |x − x̂| in [−1, 1] (Eq. 2; stated); feature matching (Eq. 1) and latent error (Eq. 3) have 1."""
SPARSE_DIM = 64  # Sparse-GAN: channels of h, the head over the latent (our choice)
LAMBDA_ADVERSARIAL = 0.01  # Sparse-GAN: weight of −E[log D] beside 1·L1 in [0, 1] (our choice): ProxyAno's λ_g
LAMBDA_SPARSE = 0.01  # Sparse-GAN: weight of the mean |h| beside 1·L1 (our choice); h has variance 1


class _Pass(NamedTuple):
    """One pass through the generator: z, x̂ in [0, 1] (filled where there is no data), ẑ."""

    latent: Tensor
    rebuilt: Tensor
    again: Tensor

    def change(self) -> Tensor:
        """(z − ẑ)² of every value."""
        return (self.latent.float() - self.again.float()).square()


class Generator(nn.Module):
    """G_E, G_D and the second encoder E, which has its own weights."""

    def __init__(self, config: VectorConfig) -> None:
        super().__init__()
        shape = (config.channels, config.size, config.width, config.widest, config.latent_dim)
        self.encoder = VectorEncoder(*shape)
        self.decoder = VectorDecoder(*shape)
        self.second = VectorEncoder(*shape)


class GANomaly(AdversarialMethod):
    """Encoder-decoder-encoder against a discriminator; a lesion changes the latent vector of the rebuilt image.

    Akcay et al., "GANomaly: Semi-Supervised Anomaly Detection via Adversarial Training", ACCV 2018. The networks work
    in [−1, 1]. Loss 1·feature matching + 50·L1 + 1·latent MSE (Eq. 4); own score: mean of (z − ẑ)² (Eq. 5), unscaled.
    """

    name: ClassVar[str] = "ganomaly"
    label: ClassVar[str] = "GANomaly"
    config_type: ClassVar[type[MethodConfig]] = VectorConfig

    def __init__(self, config: VectorConfig) -> None:
        super().__init__(config)
        self.generator: Generator = Generator(config)
        self.discriminator: VectorEncoder = VectorEncoder(config.channels, config.size, config.width, config.widest, 1)

    def _generate(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Eq. 4; the feature matching compares the discriminator's last features of real and rebuilt images."""
        found = self._pass(batch)
        with batch_statistics(self.discriminator):
            real = self.discriminator.features(signed(batch.image))
            fake = self.discriminator.features(signed(found.rebuilt))
        return {"adversarial": (real.float() - fake.float()).square().mean()} | self._terms(batch, found)

    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Eq. 2 and Eq. 3; the feature matching is left out, as the discriminator changes what it measures."""
        return self._terms(batch, self._pass(batch))

    def _score(self, batch: Batch) -> Scores:
        found = self._pass(batch)
        return self.scores(batch, found.rebuilt, found.change().flatten(1).mean(dim=1))

    def _fake(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return self._pass(batch).rebuilt

    def _pass(self, batch: Batch) -> _Pass:
        latent = self.generator.encoder(signed(batch.image))
        rebuilt = self.masked(unsigned(self.generator.decoder(latent).float().tanh()), batch)
        return _Pass(latent, rebuilt, self.generator.second(signed(rebuilt)))

    def _terms(self, batch: Batch, found: _Pass) -> dict[str, Tensor]:
        error = self._error(found.rebuilt, batch.image, batch)
        return {"contextual": LAMBDA_CONTEXTUAL * error, "latent": found.change().mean()}


@dataclass(frozen=True, kw_only=True)
class SparseGANConfig(ReconstructionConfig):
    """Configuration of `SparseGAN`."""

    discriminator_widths: Widths = stated(
        (64, 128, 256, 512), "PatchGAN; here with spectral norm, as for ProxyAno", least=1
    )


class SparseNetwork(nn.Module):
    """Encoder, decoder, and the head h; its last batch norm has no weights: |h| falls by sparser values only."""

    def __init__(self, config: SparseGANConfig) -> None:
        super().__init__()
        self.rebuild = EncoderDecoder(config.channels, config.channels, config.widths, config.latent_dim)
        self.sparse = nn.Sequential(
            nn.Conv2d(config.latent_dim, SPARSE_DIM, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(SPARSE_DIM, SPARSE_DIM, 1, bias=False),
            BatchNorm(SPARSE_DIM, affine=False),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Rebuilt image (B, C, H, W) and h (B, S, h, w)."""
        latent, features = self.rebuild.encoder.features(image)
        return self.rebuild.decoder(latent, features), self.sparse(latent)


class SparseGAN(AdversarialMethod):
    """An adversarial auto-encoder whose latent, seen through a small head h, is kept sparse.

    Zhou et al., "Sparse-GAN: Sparsity-constrained Generative Adversarial Network for Anomaly Detection in Retinal OCT
    Image", ISBI 2020. There is no public code: the nets are ProxyAno's (by the same authors), the weights are ours.
    Loss L1 + λ_ad·adversarial + λ_sp·|h|₁; its own score is the mean of |h(x) − h(x̂)|.
    """

    name: ClassVar[str] = "sparse_gan"
    label: ClassVar[str] = "Sparse-GAN"
    config_type: ClassVar[type[MethodConfig]] = SparseGANConfig

    def __init__(self, config: SparseGANConfig) -> None:
        super().__init__(config)
        self.generator: SparseNetwork = SparseNetwork(config)
        self.discriminator = PatchGAN(config.channels, config.discriminator_widths, norm="spectral")

    def _generate(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        rebuilt, head = self.generator(batch.image)
        fooled = terms.generator_adversarial(self.discriminator(self.masked(rebuilt, batch)), saturating=False)
        return self._terms(batch, rebuilt, head) | {"adversarial": LAMBDA_ADVERSARIAL * fooled}

    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """L1 and sparsity; the adversarial term is left out, as the discriminator changes what it measures."""
        return self._terms(batch, *self.generator(batch.image))

    def _score(self, batch: Batch) -> Scores:
        rebuilt, head = self.generator(batch.image)
        rebuilt = self.masked(rebuilt, batch)
        encoder = self.generator.rebuild.encoder
        change = (head.float() - self.generator.sparse(encoder(rebuilt)).float()).abs()
        return self.scores(batch, rebuilt, terms.image_mean(change, coarse(batch.score_mask(), encoder.factor)))

    def _fake(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return self.masked(self.generator(batch.image)[0], batch)

    def _seen(self, batch: Batch, image: Tensor) -> Tensor:
        """The image in [0, 1], the range in which these nets work."""
        return image

    def _terms(self, batch: Batch, rebuilt: Tensor, head: Tensor) -> dict[str, Tensor]:
        weight = coarse(batch.valid, self.generator.rebuild.encoder.factor)
        sparsity = terms.masked_absolute(head, torch.zeros_like(head), weight)
        error = terms.masked_absolute(rebuilt, batch.image, batch.valid)
        return {"reconstruction": error, "sparsity": LAMBDA_SPARSE * sparsity}
