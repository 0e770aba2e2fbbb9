"""f-AnoGAN: a WGAN-GP of normal images (stage 1), then an encoder into its latent space (stage 2, "izi_f").

Schlegl et al., "f-AnoGAN: Fast unsupervised anomaly detection with generative adversarial networks", MedIA 2019;
equation numbers are the paper's. The networks work in [−1, 1].
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from models import losses as terms
from models.card import stated
from models.method import Batch, MethodConfig, Phase, Scores, Stage
from models.methods.energy_distance import energy_distance
from models.methods.reconstruction import ResidualConfig, ResidualMethod
from models.methods.signed import signed, unsigned
from models.nets.batch_statistics import batch_statistics
from models.nets.residual_pyramid import ResidualEncoder, ResidualGenerator
from models.nets.vector_pyramid import pyramid_widths

_BETAS = (0.0, 0.9)  # of Adam, critic and generator: WGAN-GP's


@dataclass(frozen=True, kw_only=True)
class FAnoGANConfig(ResidualConfig):
    """Configuration of `FAnoGAN`."""

    size: tuple[int, int] = field(
        default=(64, 64), metadata=stated("rows and columns of the images: one vector makes them whole")
    )
    width: int = field(default=64, metadata=stated("channels next to the image, doubled with each halving"))
    widest: int = field(default=512, metadata=stated("most channels, reached at the paper's 64 px"))
    latent_dim: int = field(default=128, metadata=stated("values of z ~ N(0, 1)"))
    critic_steps: int = field(default=5, metadata=stated("critic steps for each step of the generator"))
    gradient_penalty: float = field(default=10.0, metadata=stated("λ of WGAN-GP, ≥ 0"))
    kappa: float = field(default=1.0, metadata=stated("κ of Eq. 4: weight of the feature term, ≥ 0"))

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        for name in ("width", "widest", "latent_dim", "critic_steps"):
            self._at_least(name, 1)
        for name in ("gradient_penalty", "kappa"):
            self._at_least(name, 0)
        pyramid_widths(self.size, self.width, self.widest)


class FAnoGAN(ResidualMethod):
    """Its own score is the loss of stage 2 of each image (Eq. 5)."""

    name: ClassVar[str] = "f_anogan"
    config_type: ClassVar[type[MethodConfig]] = FAnoGANConfig
    config: FAnoGANConfig

    def __init__(self, config: FAnoGANConfig) -> None:
        super().__init__()
        self.config = config
        shape = (config.channels, config.size, config.width, config.widest)
        self.generator = ResidualGenerator(*shape, config.latent_dim)
        self.critic = ResidualEncoder(*shape, 1, critic=True)
        self.encoder = ResidualEncoder(*shape, config.latent_dim, critic=False)
        criticise = Phase(name="criticise", modules=("critic",), betas=_BETAS)
        generate = Phase(name="generate", modules=("generator",), betas=_BETAS, every=config.critic_steps)
        self.stages = (
            Stage(name="stage1", phases=(criticise, generate)),
            Stage(name="stage2", phases=(Phase(name="encode", modules=("encoder",)),)),
        )

    def losses(self, stage: str, phase: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Wasserstein losses with gradient penalty (criticise, generate); Eq. 4 with G and f frozen (encode)."""
        batch = self.filled(batch)
        match stage, phase:
            case "stage1", "criticise":
                with torch.no_grad(), batch_statistics(self.generator):
                    fake = self._made(self._drawn(len(batch.image), generator), batch)
                return self._criticise(signed(batch.image), signed(fake), generator)
            case "stage1", "generate":
                fake = self._made(self._drawn(len(batch.image), generator), batch)
                return {"generate": -self.critic(signed(fake)).float().mean()}
            case "stage2", "encode":
                return self._encoded(batch)
        raise ValueError(f"f_anogan has no phase {phase!r} in stage {stage!r}")

    def validation(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Stage 1: energy distance of images of always the same vectors to the normal ones. Stage 2: Eq. 4."""
        batch = self.filled(batch)
        if stage == "stage2":
            return self._encoded(batch)
        made = self._made(self._drawn(len(batch.image), torch.Generator().manual_seed(0)), batch)
        return {"energy": energy_distance(batch.image, made)}

    def _score(self, batch: Batch) -> Scores:
        """Eq. 5: mean squared residual over scored pixels + κ·mean squared difference of features."""
        batch = self.filled(batch)
        rebuilt = self._rebuilt(batch)
        residual = terms.image_mean((signed(batch.image) - signed(rebuilt)).square(), batch.score_mask())
        own = residual + self.config.kappa * self._feature_distance(batch, rebuilt)
        return self.scores(batch, rebuilt, own)

    def _criticise(self, real: Tensor, fake: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """E[D(G(z))] − E[D(x)] + λ·E[(‖∇D(x̃)‖ − 1)²], x̃ between a real and a generated image."""
        share = torch.rand(len(real), 1, 1, 1, generator=generator).to(real.device)
        between = (share * real + (1 - share) * fake).requires_grad_(True)
        with torch.autocast(device_type=real.device.type, enabled=False):
            (slope,) = torch.autograd.grad(self.critic(between).sum(), [between], create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        gap = self.critic(fake).float().mean() - self.critic(real).float().mean()
        return {"criticise": gap, "gradient_penalty": self.config.gradient_penalty * penalty}

    def _encoded(self, batch: Batch) -> dict[str, Tensor]:
        """Eq. 4: mean squared error of pixels, and of the critic's features."""
        rebuilt = self._rebuilt(batch)
        return {
            "reconstruction": terms.masked_square(signed(rebuilt), signed(batch.image), batch.valid),
            "features": self.config.kappa * self._feature_distance(batch, rebuilt).mean(),
        }

    def _feature_distance(self, batch: Batch, rebuilt: Tensor) -> Tensor:
        """Mean of (f(x) − f(G(E(x))))² of each image (B,)."""
        wanted, found = (self.critic.features(signed(image)) for image in (batch.image, rebuilt))
        return (wanted.float() - found.float()).square().flatten(1).mean(dim=1)

    def _rebuilt(self, batch: Batch) -> Tensor:
        return self._made(self.encoder(signed(batch.image)), batch)

    def _made(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Images of vectors, with the fill value where the batch holds no data."""
        return self.masked(unsigned(self.generator(vectors)), batch)

    def _drawn(self, count: int, generator: torch.Generator) -> Tensor:
        """Vectors (count, D) of the prior."""
        vectors = torch.randn(count, self.config.latent_dim, generator=generator)
        return vectors.to(next(self.generator.parameters()).device)
