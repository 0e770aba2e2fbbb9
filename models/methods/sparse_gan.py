"""Sparse-GAN: an adversarial auto-encoder whose latent, seen through a small head, is kept sparse.

Zhou et al., "Sparse-GAN: Sparsity-constrained Generative Adversarial Network for Anomaly Detection in Retinal OCT
Image", ISBI 2020. There is no public code: the nets are ProxyAno's (by the same authors), the weights are ours.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from models import losses as terms
from models.card import left_open, stated
from models.method import Batch, MethodConfig, Phase, Scores, Stage
from models.methods.reconstruction import ReconstructionConfig, ResidualMethod, coarse
from models.nets.batch_statistics import batch_statistics
from models.nets.discriminator import Discriminator
from models.nets.encoder_decoder import EncoderDecoder

_BETAS = (0.5, 0.999)  # of Adam, both phases: usual for PatchGANs


@dataclass(frozen=True, kw_only=True)
class SparseGANConfig(ReconstructionConfig):
    """Configuration of `SparseGAN`."""

    sparse_dim: int = field(default=64, metadata=left_open("channels of h, the head over the latent"))
    lambda_adversarial: float = field(
        default=0.01, metadata=left_open("weight of −E[log D] beside 1·L1 in [0, 1], ≥ 0; ProxyAno's λ_g")
    )
    lambda_sparse: float = field(
        default=0.01, metadata=left_open("weight of the mean |h| beside 1·L1, ≥ 0; h has variance 1")
    )
    discriminator_widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512), metadata=stated("PatchGAN; here with spectral norm, as for ProxyAno")
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        self._at_least("sparse_dim", 1)
        for name in ("lambda_adversarial", "lambda_sparse"):
            self._at_least(name, 0)
        if min(self.discriminator_widths, default=0) < 1:
            raise ValueError(f"SparseGANConfig.discriminator_widths are at least 1, got {self.discriminator_widths}")


class SparseNetwork(nn.Module):
    """Encoder, decoder, and the sparse head h.

    The head ends in a batch norm without weights: its variance stays 1, so that |h| falls by sparser values only,
    never by smaller ones.
    """

    def __init__(self, config: SparseGANConfig) -> None:
        super().__init__()
        sigmoid = config.head == "sigmoid"
        self.rebuild = EncoderDecoder(config.channels, config.widths, config.latent_dim, skips=False, sigmoid=sigmoid)
        self.sparse = nn.Sequential(
            nn.Conv2d(config.latent_dim, config.sparse_dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(config.sparse_dim, config.sparse_dim, 1, bias=False),
            nn.BatchNorm2d(config.sparse_dim, affine=False),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Rebuilt image (B, C, H, W) and h (B, S, h, w)."""
        latent, features = self.rebuild.encoder.features(image)
        return self.rebuild.decoder(latent, features), self.sparse(latent)

    def head(self, image: Tensor) -> Tensor:
        """The head h (B, S, h, w) of an image's latent."""
        value: Tensor = self.sparse(self.rebuild.encoder(image))
        return value


class SparseGAN(ResidualMethod):
    """Loss L1 + λ_ad·adversarial + λ_sp·|h|₁; its own score is the mean of |h(x) − h(x̂)|."""

    name: ClassVar[str] = "sparse_gan"
    config_type: ClassVar[type[MethodConfig]] = SparseGANConfig
    config: SparseGANConfig

    def __init__(self, config: SparseGANConfig) -> None:
        super().__init__()
        self.config = config
        self.network = SparseNetwork(config)
        self.discriminator = Discriminator(config.channels, config.discriminator_widths)
        judge = Phase(name="judge", modules=("discriminator",), betas=_BETAS)
        reconstruct = Phase(name="reconstruct", modules=("network",), betas=_BETAS)
        self.stages = (Stage(name="stage1", phases=(judge, reconstruct)),)

    def losses(self, stage: str, phase: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The whole loss (reconstruct); cross-entropy of real and rebuilt patches (judge)."""
        del generator
        batch = self.filled(batch)
        match stage, phase:
            case "stage1", "judge":
                with torch.no_grad(), batch_statistics(self.network):
                    fake = self.masked(self.network(batch.image)[0], batch)
                logits = self.discriminator(batch.image), self.discriminator(fake)
                return {"judge": terms.discriminator_adversarial(*logits)}
            case "stage1", "reconstruct":
                rebuilt, head = self.network(batch.image)
                fooled = terms.generator_adversarial(self.discriminator(self.masked(rebuilt, batch)), saturating=False)
                return self._terms(batch, rebuilt, head) | {"adversarial": self.config.lambda_adversarial * fooled}
        raise ValueError(f"sparse_gan has no phase {phase!r} in stage {stage!r}")

    def validation(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """L1 and sparsity; the adversarial term is left out, as the discriminator changes what it measures."""
        del stage
        batch = self.filled(batch)
        return self._terms(batch, *self.network(batch.image))

    def _score(self, batch: Batch) -> Scores:
        """Mean |h(x) − h(x̂)| over scored positions, and the scores for all."""
        batch = self.filled(batch)
        rebuilt, head = self.network(batch.image)
        rebuilt = self.masked(rebuilt, batch)
        change = (head.float() - self.network.head(rebuilt).float()).abs()
        weight = coarse(batch.score_mask(), self.network.rebuild.encoder.factor)
        return self.scores(batch, rebuilt, terms.image_mean(change, weight))

    def _terms(self, batch: Batch, rebuilt: Tensor, head: Tensor) -> dict[str, Tensor]:
        weight = coarse(batch.valid, self.network.rebuild.encoder.factor)
        sparsity = terms.masked_absolute(head, torch.zeros_like(head), weight)
        return {
            "reconstruction": terms.masked_absolute(rebuilt, batch.image, batch.valid),
            "sparsity": self.config.lambda_sparse * sparsity,
        }
