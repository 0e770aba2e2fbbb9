"""AnoGAN: a DCGAN of normal images; each test image is searched for in its latent space.

Schlegl et al., "Unsupervised Anomaly Detection with Generative Adversarial Networks to Guide Marker Discovery",
IPMI 2017; equation numbers are the paper's. The networks work in [−1, 1].
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from models import losses as terms
from models.card import left_open, stated
from models.method import Batch, MethodConfig, Phase, Scores, Stage
from models.methods.energy_distance import energy_distance
from models.methods.latent_search import latent_search
from models.methods.reconstruction import ResidualConfig, ResidualMethod
from models.methods.signed import signed, unsigned
from models.nets.batch_statistics import batch_statistics
from models.nets.vector_pyramid import VectorDecoder, VectorEncoder, pyramid_widths

_BETAS = (0.5, 0.999)  # of Adam in all phases and in the search: DCGAN's


@dataclass(frozen=True, kw_only=True)
class AnoGANConfig(ResidualConfig):
    """Configuration of `AnoGAN`."""

    size: tuple[int, int] = field(
        default=(64, 64), metadata=left_open("rows and columns of the images: one vector makes them whole; paper: 64")
    )
    width: int = field(default=64, metadata=stated("DCGAN's channels next to the image, doubled with each halving"))
    widest: int = field(default=512, metadata=left_open("most channels; the paper's 64 px reach just this"))
    latent_dim: int = field(default=100, metadata=left_open("values of z ~ U(−1, 1), DCGAN's 100"))
    search_steps: int = field(default=100, metadata=left_open("steps of Adam on z; the paper takes 500 back-steps"))
    search_rate: float = field(
        default=0.05, metadata=left_open("learning rate of the search: the range of z is crossed in 40 steps")
    )
    search_seed: int = field(
        default=0, metadata=left_open("draws the one z that all searches start from; the paper draws one an image")
    )
    feature_share: float = field(
        default=0.1, metadata=stated("λ of Eq. 5: share of the feature matching in loss and score, [0, 1]")
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        for name in ("width", "widest", "latent_dim", "search_steps"):
            self._at_least(name, 1)
        if not self.search_rate > 0:
            raise ValueError(f"AnoGANConfig.search_rate is above 0, got {self.search_rate}")
        if not 0 <= self.feature_share <= 1:
            raise ValueError(f"AnoGANConfig.feature_share is a share in [0, 1], got {self.feature_share}")
        pyramid_widths(self.size, self.width, self.widest)


class AnoGAN(ResidualMethod):
    """Its own score is the search's last loss: (1 − λ)·residual + λ·feature matching, both means (Eq. 6)."""

    name: ClassVar[str] = "anogan"
    config_type: ClassVar[type[MethodConfig]] = AnoGANConfig
    config: AnoGANConfig

    def __init__(self, config: AnoGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = VectorDecoder(config.channels, config.size, config.width, config.widest, config.latent_dim)
        self.discriminator = VectorEncoder(config.channels, config.size, config.width, config.widest, 1)
        judge = Phase(name="judge", modules=("discriminator",), betas=_BETAS)
        generate = Phase(name="generate", modules=("generator",), betas=_BETAS)
        self.stages = (Stage(name="stage1", phases=(judge, generate)),)

    def losses(self, stage: str, phase: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropy of real and generated images (judge), −E[log D(G(z))] (generate)."""
        batch = self.filled(batch)
        match stage, phase:
            case "stage1", "judge":
                with torch.no_grad(), batch_statistics(self.generator):
                    fake = self._made(self._drawn(len(batch.image), generator), batch)
                return {"judge": terms.discriminator_adversarial(self._logits(batch.image), self._logits(fake))}
            case "stage1", "generate":
                fake = self._made(self._drawn(len(batch.image), generator), batch)
                with batch_statistics(self.discriminator):
                    return {"adversarial": terms.generator_adversarial(self._logits(fake), saturating=False)}
        raise ValueError(f"anogan has no phase {phase!r} in stage {stage!r}")

    def validation(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Energy distance of images of always the same vectors to the normal ones."""
        del stage
        batch = self.filled(batch)
        made = self._made(self._drawn(len(batch.image), torch.Generator().manual_seed(0)), batch)
        return {"energy": energy_distance(batch.image, made)}

    def _score(self, batch: Batch) -> Scores:
        """The search over valid pixels, then its loss over scored ones, and the scores for all."""
        batch, config = self.filled(batch), self.config
        wanted = self.discriminator.features(signed(batch.image))
        vectors = latent_search(
            lambda vectors: self._distance(self._made(vectors, batch), wanted, batch, batch.valid),
            self._drawn(1, torch.Generator().manual_seed(config.search_seed))[0],
            len(batch.image),
            steps=config.search_steps,
            rate=config.search_rate,
            betas=_BETAS,
        )
        rebuilt = self._made(vectors, batch)
        return self.scores(batch, rebuilt, self._distance(rebuilt, wanted, batch, batch.score_mask()))

    def _distance(self, rebuilt: Tensor, wanted: Tensor, batch: Batch, mask: Tensor) -> Tensor:
        """(1 − λ)·mean |x − G(z)| inside a mask + λ·mean |f(x) − f(G(z))|, for each image (B,) (Eq. 5)."""
        residual = terms.image_mean((signed(batch.image) - signed(rebuilt)).abs(), mask)
        found = self.discriminator.features(signed(rebuilt))
        features = (wanted.float() - found.float()).abs().flatten(1).mean(dim=1)
        return (1 - self.config.feature_share) * residual + self.config.feature_share * features

    def _made(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Images of vectors, with the fill value where the batch holds no data."""
        return self.masked(unsigned(self.generator(vectors[:, :, None, None]).tanh()), batch)

    def _logits(self, image: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(signed(image))
        return logits

    def _drawn(self, count: int, generator: torch.Generator) -> Tensor:
        """Vectors (count, D) of the prior."""
        vectors = 2 * torch.rand(count, self.config.latent_dim, generator=generator) - 1
        return vectors.to(next(self.generator.parameters()).device)
