"""f-AnoGAN: a WGAN-GP of normal images (stage 1), then an encoder into its latent space (stage 2, "izi_f").

Schlegl et al., "f-AnoGAN: Fast unsupervised anomaly detection with generative adversarial networks", MedIA 2019;
equation numbers are the paper's. The networks work in [−1, 1].
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models import losses as terms
from models.method import Batch, MethodConfig, Phase, Scores, Stage
from models.methods.energy_distance import energy_distance
from models.methods.reconstruction import ResidualMethod, VectorConfig, signed, unsigned
from models.nets.batch_statistics import batch_statistics
from models.nets.residual_pyramid import ResidualEncoder, ResidualGenerator

CRITIC_STEPS = 5
"""Critic steps for each step of the generator (stated)."""
GRADIENT_PENALTY = 10.0
"""λ of WGAN-GP (stated)."""
KAPPA = 1.0
"""κ of Eq. 4 (stated): weight of the feature term."""
_BETAS = (0.0, 0.9)  # of Adam, critic and generator: WGAN-GP's


@dataclass(frozen=True, kw_only=True)
class FAnoGANConfig(VectorConfig):
    """Configuration of `FAnoGAN`; z ~ N(0, 1), with 128 values in the paper."""


class FAnoGAN(ResidualMethod):
    """Its own score is the loss of stage 2 of each image (Eq. 5)."""

    name: ClassVar[str] = "f_anogan"
    label: ClassVar[str] = "f-AnoGAN"
    config_type: ClassVar[type[MethodConfig]] = FAnoGANConfig
    paper_rate: ClassVar[float | None] = 1e-4
    stages = (
        Stage(
            name="stage1",
            phases=(
                Phase(name="criticise", modules=("critic",), betas=_BETAS),
                Phase(name="generate", modules=("generator",), betas=_BETAS, every=CRITIC_STEPS),
            ),
        ),
        Stage(name="stage2", phases=(Phase(name="encode", modules=("encoder",)),)),
    )
    config: FAnoGANConfig

    def __init__(self, config: FAnoGANConfig) -> None:
        super().__init__(config)
        shape = (config.channels, config.size, config.width, config.widest)
        self.generator = ResidualGenerator(*shape, config.latent_dim)
        self.critic = ResidualEncoder(*shape, 1, critic=True)
        self.encoder = ResidualEncoder(*shape, config.latent_dim, critic=False)

    def _criticise(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """E[D(G(z))] − E[D(x)] + λ·E[(‖∇D(x̃)‖ − 1)²], x̃ between a real and a generated image."""
        with torch.no_grad(), batch_statistics(self.generator):
            fake = signed(self._fake(batch, generator))
        real = signed(batch.image)
        share = torch.rand(len(real), 1, 1, 1, generator=generator).to(real.device)
        between = (share * real + (1 - share) * fake).requires_grad_(True)
        with torch.autocast(device_type=real.device.type, enabled=False):
            (slope,) = torch.autograd.grad(self.critic(between).sum(), [between], create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        gap = self.critic(fake).float().mean() - self.critic(real).float().mean()
        return {"criticise": gap, "gradient_penalty": GRADIENT_PENALTY * penalty}

    def _generate(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """−E[D(G(z))]."""
        return {"generate": -self.critic(signed(self._fake(batch, generator))).float().mean()}

    def _encode(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Eq. 4 with G and f frozen: mean squared error of pixels, and of the critic's features."""
        del generator
        rebuilt = self._rebuilt(batch)
        return {
            "reconstruction": terms.masked_square(signed(rebuilt), signed(batch.image), batch.valid),
            "features": KAPPA * self._feature_distance(batch, rebuilt).mean(),
        }

    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Stage 1: energy distance between the normal images and images of fixed vectors. Stage 2: Eq. 4."""
        if stage == "stage2":
            return self._encode(batch, None)
        return {"energy": energy_distance(batch.image, self._fake(batch, torch.Generator().manual_seed(0)))}

    def _score(self, batch: Batch) -> Scores:
        """Eq. 5: mean squared residual over scored pixels + κ·mean squared difference of features."""
        rebuilt = self._rebuilt(batch)
        residual = terms.image_mean((signed(batch.image) - signed(rebuilt)).square(), batch.score_mask())
        return self.scores(batch, rebuilt, residual + KAPPA * self._feature_distance(batch, rebuilt))

    def _feature_distance(self, batch: Batch, rebuilt: Tensor) -> Tensor:
        """Mean of (f(x) − f(G(E(x))))² of each image (B,)."""
        wanted, found = (self.critic.features(signed(image)) for image in (batch.image, rebuilt))
        return (wanted.float() - found.float()).square().flatten(1).mean(dim=1)

    def _rebuilt(self, batch: Batch) -> Tensor:
        return self._made(self.encoder(signed(batch.image)), batch)

    def _fake(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Images of vectors drawn from the prior."""
        vectors = torch.randn(len(batch.image), self.config.latent_dim, generator=generator)
        return self._made(vectors.to(batch.image.device), batch)

    def _made(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Images of vectors, with the fill value where the batch holds no data."""
        return self.masked(unsigned(self.generator(vectors)), batch)
