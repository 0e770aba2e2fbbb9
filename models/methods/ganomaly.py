"""GANomaly: encoder-decoder-encoder against a discriminator; a lesion changes the latent vector of the rebuilt image.

Akcay et al., "GANomaly: Semi-Supervised Anomaly Detection via Adversarial Training", ACCV 2018. The networks work in
[−1, 1] as in the paper; images are scaled on the way in and out.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from models import losses as terms
from models.method import Batch, MethodConfig, Scores
from models.methods.adversarial import AdversarialMethod
from models.methods.reconstruction import VectorConfig, signed, unsigned
from models.nets.batch_statistics import batch_statistics
from models.nets.vector_pyramid import VectorDecoder, VectorEncoder

LAMBDA_CONTEXTUAL = 50.0
"""Weight of |x − x̂| in [−1, 1] (Eq. 2; stated); feature matching (Eq. 1) and latent error (Eq. 3) have weight 1."""


@dataclass(frozen=True, kw_only=True)
class GANomalyConfig(VectorConfig):
    """Configuration of `GANomaly`."""


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

    def __init__(self, config: GANomalyConfig) -> None:
        super().__init__()
        shape = (config.channels, config.size, config.width, config.widest, config.latent_dim)
        self.encoder = VectorEncoder(*shape)
        self.decoder = VectorDecoder(*shape)
        self.second = VectorEncoder(*shape)


class GANomaly(AdversarialMethod):
    """Loss 1·feature matching + 50·L1 + 1·latent MSE (Eq. 4); its own score is the mean of (z − ẑ)², unscaled."""

    name: ClassVar[str] = "ganomaly"
    label: ClassVar[str] = "GANomaly"
    config_type: ClassVar[type[MethodConfig]] = GANomalyConfig

    def __init__(self, config: GANomalyConfig) -> None:
        super().__init__(config)
        self.generator: Generator = Generator(config)
        self.discriminator: VectorEncoder = VectorEncoder(config.channels, config.size, config.width, config.widest, 1)

    def _generate(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Eq. 4; the feature matching compares the discriminator's last features of real and rebuilt images."""
        del generator
        found = self._pass(batch)
        with batch_statistics(self.discriminator):
            real = self.discriminator.features(signed(batch.image))
            fake = self.discriminator.features(signed(found.rebuilt))
        return {"adversarial": (real.float() - fake.float()).square().mean()} | self._terms(batch, found)

    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Eq. 2 and Eq. 3; the feature matching is left out, as the discriminator changes what it measures."""
        del stage
        return self._terms(batch, self._pass(batch))

    def _score(self, batch: Batch) -> Scores:
        """Mean (z − ẑ)² (Eq. 5; not scaled by the test set's range), and the scores that all methods have."""
        found = self._pass(batch)
        return self.scores(batch, found.rebuilt, found.change().flatten(1).mean(dim=1))

    def _fake(self, batch: Batch, generator: torch.Generator) -> Tensor:
        del generator
        return self._pass(batch).rebuilt

    def _pass(self, batch: Batch) -> _Pass:
        latent = self.generator.encoder(signed(batch.image))
        raw = self.generator.decoder(latent).float()
        rebuilt = self.masked(unsigned(raw.tanh()), batch)
        return _Pass(latent, rebuilt, self.generator.second(signed(rebuilt)))

    def _terms(self, batch: Batch, found: _Pass) -> dict[str, Tensor]:
        error = terms.masked_absolute(signed(found.rebuilt), signed(batch.image), batch.valid)
        return {"contextual": LAMBDA_CONTEXTUAL * error, "latent": found.change().mean()}
