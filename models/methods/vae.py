"""VAE: an auto-encoder with a Gaussian latent pulled towards N(0, 1).

Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014, with a Gaussian decoder of fixed variance σ².
The negative evidence bound, times 2σ² and divided by the number of pixel values, is MSE + 2σ²·KL / pixel values.
"""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from models import losses as terms
from models.method import Batch, MethodConfig, Scores
from models.methods.reconstruction import ReconstructionConfig, ReconstructionMethod
from models.nets.encoder_decoder import Decoder, Encoder, coarse

KL_WEIGHT = 0.01
"""2σ² of the Gaussian decoder (our choice): it expects errors of 0.07 of the value range."""
_LOG_VARIANCE = (-20.0, 10.0)  # range of log σ²_z: its exponential stays finite in half precision


class Posterior(NamedTuple):
    """The Gaussian q(z | I) at each latent position."""

    mean: Tensor  # (B, D, h, w)
    log_variance: Tensor  # (B, D, h, w)

    def divergence(self) -> Tensor:
        """KL(q ‖ N(0, 1)) of each value (B, D, h, w), ≥ 0."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - self.log_variance - 1)

    def draw(self, generator: torch.Generator) -> Tensor:
        """A sample, drawn on the CPU for any device."""
        noise = torch.randn(self.mean.shape, generator=generator).to(self.mean.device)
        return self.mean + noise * (0.5 * self.log_variance).exp()


class VariationalNetwork(nn.Module):
    """ProxyAno's encoder with twice the latent channels, and its decoder."""

    def __init__(self, config: ReconstructionConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config.channels, config.widths, 2 * config.latent_dim)
        self.decoder = Decoder(config.channels, config.widths, config.latent_dim)

    def forward(self, image: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Posterior]:
        """Image rebuilt from a sample of the latent, or from its mean without a generator."""
        mean, log_variance = self.encoder(image).float().chunk(2, dim=1)
        posterior = Posterior(mean, log_variance.clamp(*_LOG_VARIANCE))
        return self.decoder(mean if generator is None else posterior.draw(generator)), posterior


class VAE(ReconstructionMethod):
    """Its own score is the training loss of one image: mean (I − Î)² + weighted KL, Î from the latent's mean."""

    name: ClassVar[str] = "vae"
    label: ClassVar[str] = "VAE"
    config_type: ClassVar[type[MethodConfig]] = ReconstructionConfig

    def __init__(self, config: ReconstructionConfig) -> None:
        super().__init__(config)
        self.network = VariationalNetwork(config)

    def _reconstruct(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        rebuilt, posterior = self.network(batch.image, generator)
        total = self._divergence(posterior, batch.valid).sum()
        return {
            "reconstruction": terms.masked_square(rebuilt, batch.image, batch.valid),
            "divergence": KL_WEIGHT * total / self._values(batch.valid).sum().clamp(min=1),
        }

    def _score(self, batch: Batch) -> Scores:
        """The negative evidence bound over scored pixels (up to factor and constant), and the scores of all methods."""
        mask = batch.score_mask()
        rebuilt, posterior = self.network(batch.image, None)
        rebuilt = self.masked(rebuilt, batch)
        error = terms.image_mean((batch.image - rebuilt).square(), mask)
        divergence = self._divergence(posterior, mask) / self._values(mask).clamp(min=1)
        return self.scores(batch, rebuilt, error + KL_WEIGHT * divergence)

    def _divergence(self, posterior: Posterior, mask: Tensor) -> Tensor:
        """KL (B,) in nats, each latent position weighted by its share of the mask."""
        weight = coarse(mask, self.network.encoder.factor)
        return (posterior.divergence() * weight).flatten(1).sum(dim=1)

    def _values(self, mask: Tensor) -> Tensor:
        """Number (B,) of pixel values inside the mask."""
        return mask.flatten(1).sum(dim=1) * self.config.channels
