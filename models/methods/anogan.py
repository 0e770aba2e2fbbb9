"""AnoGAN and f-AnoGAN: a GAN of normal images, and the vector from which it makes the image best.

Schlegl et al., "Unsupervised Anomaly Detection with Generative Adversarial Networks to Guide Marker Discovery", IPMI
2017, and "f-AnoGAN: Fast unsupervised anomaly detection with generative adversarial networks", MedIA 2019; equation
numbers are those of each method's paper. The networks work in [−1, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Adam

from models import losses as terms
from models import ranks
from models.method import Batch, MethodConfig, Phase, Scores, Stage, left_open
from models.methods.reconstruction import BETAS, AdversarialMethod, ResidualMethod, VectorConfig, signed, unsigned
from models.nets.batch_statistics import batch_statistics
from models.nets.pyramids import ResidualEncoder, ResidualGenerator, VectorDecoder, VectorEncoder

SEARCH_RATE = 0.05  # AnoGAN: learning rate of the search (our choice): the range of z is crossed in 40 steps
SEARCH_SEED = 0  # AnoGAN: draws the one z from which all searches start (our choice); the paper draws one per image
FEATURE_SHARE = 0.1  # AnoGAN: λ of Eq. 5 (stated): share of the feature matching in loss and score
CRITIC_STEPS = 5  # f-AnoGAN: critic steps for each step of the generator (stated)
GRADIENT_PENALTY = 10.0  # f-AnoGAN: λ of WGAN-GP (stated)
KAPPA = 1.0  # f-AnoGAN: κ of Eq. 4 (stated): weight of the feature term
_SIDE = 16  # px of the shorter side that the energy distance sees: shape and brightness count, grain does not
_WGAN_BETAS = (0.0, 0.9)  # of Adam, critic and generator: WGAN-GP's
_CRITICISE = Phase(name="criticise", modules=("critic",), betas=_WGAN_BETAS)
_GENERATE = Phase(name="generate", modules=("generator",), betas=_WGAN_BETAS, every=CRITIC_STEPS)
_ENCODE = Phase(name="encode", modules=("encoder",))


@dataclass(frozen=True, kw_only=True)
class AnoGANConfig(VectorConfig):
    """Configuration of `AnoGAN`; z ~ U(−1, 1)."""

    search_steps: int = left_open(100, "steps of Adam on z; the paper takes 500 back-steps", least=1)


class AnoGAN(AdversarialMethod):
    """A DCGAN in whose latent space each test image is searched for.

    Its own score is the search's last loss: (1 − λ)·residual + λ·feature matching, both means (Eq. 6).
    """

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
        vectors = 2 * ranks.drawn(torch.rand, (count, self.config.latent_dim), generator) - 1
        return vectors.to(next(self.generator.parameters()).device)


def latent_search(objective: Callable[[Tensor], Tensor], start: Tensor, count: int, *, steps: int) -> Tensor:
    """Vectors (count, D) after `steps` of Adam from `start` (D,), kept in [−1, 1], where the prior lives.

    `objective` maps vectors (count, D) to losses (count,), each of its own vector only. Losses are summed, Adam works
    value by value and all start from one vector, so an image's result does not depend on its neighbours.
    """
    vectors = start.expand(count, -1).clone()
    optimiser = Adam([vectors], lr=SEARCH_RATE, betas=BETAS)
    for _ in range(steps):
        with torch.enable_grad():
            vectors.requires_grad_(True)
            (vectors.grad,) = torch.autograd.grad(objective(vectors).sum(), [vectors])
        vectors.requires_grad_(False)
        optimiser.step()
        vectors.clamp_(-1, 1)
    return vectors


class FAnoGAN(ResidualMethod):
    """A WGAN-GP (stage 1), an encoder into its latent space (stage 2, "izi_f"), whose loss is the own score (Eq. 5).

    z ~ N(0, 1), with 128 values in the paper.
    """

    name: ClassVar[str] = "f_anogan"
    label: ClassVar[str] = "f-AnoGAN"
    config_type: ClassVar[type[MethodConfig]] = VectorConfig
    paper_rate: ClassVar[float | None] = 1e-4
    stages = Stage(name="stage1", phases=(_CRITICISE, _GENERATE)), Stage(name="stage2", phases=(_ENCODE,))
    config: VectorConfig

    def __init__(self, config: VectorConfig) -> None:
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
        share = ranks.drawn(torch.rand, (len(real), 1, 1, 1), generator).to(real.device)
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
        rebuilt = self._made(self.encoder(signed(batch.image)), batch)
        error = terms.masked_square(signed(rebuilt), signed(batch.image), batch.valid)
        return {"reconstruction": error, "features": KAPPA * self._feature_distance(batch, rebuilt).mean()}

    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Stage 1: energy distance between the normal images and images of fixed vectors. Stage 2: Eq. 4."""
        if stage == "stage2":
            return self._encode(batch, None)
        return {"energy": energy_distance(batch.image, self._fake(batch, torch.Generator().manual_seed(0)))}

    def _score(self, batch: Batch) -> Scores:
        """Eq. 5: mean squared residual over scored pixels + κ·mean squared difference of features."""
        rebuilt = self._made(self.encoder(signed(batch.image)), batch)
        residual = terms.image_mean((signed(batch.image) - signed(rebuilt)).square(), batch.score_mask())
        return self.scores(batch, rebuilt, residual + KAPPA * self._feature_distance(batch, rebuilt))

    def _feature_distance(self, batch: Batch, rebuilt: Tensor) -> Tensor:
        """Mean of (f(x) − f(G(E(x))))² of each image (B,)."""
        wanted, found = (self.critic.features(signed(image)) for image in (batch.image, rebuilt))
        return (wanted.float() - found.float()).square().flatten(1).mean(dim=1)

    def _fake(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Images of vectors drawn from the prior."""
        vectors = ranks.drawn(torch.randn, (len(batch.image), self.config.latent_dim), generator)
        return self._made(vectors.to(batch.image.device), batch)

    def _made(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Images of vectors, with the fill value where the batch holds no data."""
        return self.masked(unsigned(self.generator(vectors)), batch)


def energy_distance(real: Tensor, made: Tensor) -> Tensor:
    """Energy distance (), ≥ 0, of two sets of images (B, C, H, W), in units of a pixel's value.

    Székely and Rizzo's 2E‖x − g‖ − E‖x − x'‖ − E‖g − g'‖, the validation loss of GAN stages: 0 only for equal
    distributions, so it detects dissimilar and too uniform images. Nothing is drawn; steps can be compared.
    """
    factor = max(min(real.shape[-2:]) // _SIDE, 1)
    first, second = (functional.avg_pool2d(images.float(), factor).flatten(1) for images in (real, made))

    def mean(one: Tensor, other: Tensor) -> Tensor:
        distances = torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")
        found: Tensor = distances.mean() / float(one.shape[1]) ** 0.5
        return found

    return 2 * mean(first, second) - mean(first, first) - mean(second, second)
