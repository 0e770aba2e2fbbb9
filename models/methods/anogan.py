"""AnoGAN: a DCGAN of normal images; each test image is searched for in its latent space.

Schlegl et al., "Unsupervised Anomaly Detection with Generative Adversarial Networks to Guide Marker Discovery",
IPMI 2017; equation numbers are the paper's. The networks work in [−1, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Adam

from models import losses as terms
from models.card import left_open
from models.method import Batch, MethodConfig, Scores
from models.methods.adversarial import BETAS, AdversarialMethod
from models.methods.energy_distance import energy_distance
from models.methods.reconstruction import VectorConfig, signed, unsigned
from models.nets.vector_pyramid import VectorDecoder, VectorEncoder

SEARCH_RATE = 0.05
"""Learning rate of the search (our choice): the range of z is crossed in 40 steps."""
SEARCH_SEED = 0
"""Draws the one z from which all searches start (our choice); the paper draws one per image."""
FEATURE_SHARE = 0.1
"""λ of Eq. 5 (stated): share of the feature matching in loss and score."""


@dataclass(frozen=True, kw_only=True)
class AnoGANConfig(VectorConfig):
    """Configuration of `AnoGAN`; z ~ U(−1, 1)."""

    search_steps: int = field(
        default=100, metadata=left_open("steps of Adam on z; the paper takes 500 back-steps", least=1)
    )


class AnoGAN(AdversarialMethod):
    """Its own score is the search's last loss: (1 − λ)·residual + λ·feature matching, both means (Eq. 6)."""

    name: ClassVar[str] = "anogan"
    label: ClassVar[str] = "AnoGAN"
    config_type: ClassVar[type[MethodConfig]] = AnoGANConfig
    config: AnoGANConfig

    def __init__(self, config: AnoGANConfig) -> None:
        super().__init__(config)
        shape = (config.channels, config.size, config.width, config.widest)
        self.generator = VectorDecoder(*shape, config.latent_dim)
        self.discriminator: VectorEncoder = VectorEncoder(*shape, 1)

    def _generate(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"adversarial": self._fooled(batch, self._fake(batch, generator))}

    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Energy distance between the normal images and images of fixed vectors."""
        del stage
        return {"energy": energy_distance(batch.image, self._fake(batch, torch.Generator().manual_seed(0)))}

    def _score(self, batch: Batch) -> Scores:
        """The search over valid pixels, then its loss over scored ones, and the scores that all methods have."""
        wanted = self.discriminator.features(signed(batch.image))
        vectors = latent_search(
            lambda vectors: self._distance(self._made(vectors, batch), wanted, batch, batch.valid),
            self._drawn(1, torch.Generator().manual_seed(SEARCH_SEED))[0],
            len(batch.image),
            steps=self.config.search_steps,
        )
        rebuilt = self._made(vectors, batch)
        return self.scores(batch, rebuilt, self._distance(rebuilt, wanted, batch, batch.score_mask()))

    def _distance(self, rebuilt: Tensor, wanted: Tensor, batch: Batch, mask: Tensor) -> Tensor:
        """(1 − λ)·mean |x − G(z)| inside a mask + λ·mean |f(x) − f(G(z))|, for each image (B,) (Eq. 5)."""
        residual = terms.image_mean((signed(batch.image) - signed(rebuilt)).abs(), mask)
        found = self.discriminator.features(signed(rebuilt))
        features = (wanted.float() - found.float()).abs().flatten(1).mean(dim=1)
        return (1 - FEATURE_SHARE) * residual + FEATURE_SHARE * features

    def _fake(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return self._made(self._drawn(len(batch.image), generator), batch)

    def _made(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Images of vectors, with the fill value where the batch holds no data."""
        return self.masked(unsigned(self.generator(vectors[:, :, None, None]).tanh()), batch)

    def _drawn(self, count: int, generator: torch.Generator) -> Tensor:
        """Vectors (count, D) of the prior."""
        vectors = 2 * torch.rand(count, self.config.latent_dim, generator=generator) - 1
        return vectors.to(next(self.generator.parameters()).device)


def latent_search(
    objective: Callable[[Tensor], Tensor], start: Tensor, count: int, *, steps: int, rate: float = SEARCH_RATE
) -> Tensor:
    """Vectors (count, D) after `steps` of Adam from `start` (D,), kept in [−1, 1], where the prior lives.

    `objective` maps vectors (count, D) to losses (count,), each of its own vector only. Losses are summed, Adam works
    value by value and all start from one vector, so an image's result does not depend on its neighbours.
    """
    vectors = start.expand(count, -1).clone()
    optimiser = Adam([vectors], lr=rate, betas=BETAS)
    for _ in range(steps):
        with torch.enable_grad():
            vectors.requires_grad_(True)
            (vectors.grad,) = torch.autograd.grad(objective(vectors).sum(), [vectors])
        vectors.requires_grad_(False)
        optimiser.step()
        vectors.clamp_(-1, 1)
    return vectors
