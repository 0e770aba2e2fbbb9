"""Auto-encoders: ProxyAno's own encoder and decoder alone, with noise on the input, a memory, or a Gaussian latent."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import losses as terms
from models import ranks
from models.method import Batch, MethodConfig, Scores, ablation, left_open
from models.methods.reconstruction import ReconstructionConfig, ReconstructionMethod
from models.nets.encoder_decoder import Decoder, Encoder, EncoderDecoder, MemoryEncoderDecoder, coarse
from models.nets.memory import Lookup, Memory, SoftMemory

DEVIATION = 0.2  # Denoising: standard deviation of the coarse noise before it is enlarged (stated)
CELLS = 16  # Denoising: square cells of the coarse noise along the shorter side (stated), 8 px at 128
_FIXED = 1  # seed of the one noise field of all validation images: losses stay comparable between steps
SHRINK = 1.0  # MemAE: threshold λ on the shares in units of 1/N (stated: 1 to 3; at 3 even shares would all be cut)
LAMBDA_ENTROPY = 2e-4  # MemAE: weight α of the shares' entropy (Eq. 9; stated)
COMMITMENT = 0.25  # MemAE: weight of the commitment term of the nearest-item memory; ProxyAno's
KL_WEIGHT = 0.01  # VAE: 2σ² of the Gaussian decoder (our choice): it expects errors of 0.07 of the value range
_LOG_VARIANCE = (-20.0, 10.0)  # range of log σ²_z: its exponential stays finite in half precision


class AutoEncoder(ReconstructionMethod):
    """Dec(Enc(I)), trained on ‖I − Î‖² (the paper's baseline condition); its own score is the mean of |I − Î|."""

    name: ClassVar[str] = "auto_encoder"
    label: ClassVar[str] = "Auto-Encoder"
    config_type: ClassVar[type[MethodConfig]] = ReconstructionConfig

    def __init__(self, config: ReconstructionConfig) -> None:
        super().__init__(config)
        self.network = EncoderDecoder(config.channels, config.channels, config.widths, config.latent_dim)

    def _reconstruct(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        return {"reconstruction": terms.masked_square(self.network(batch.image), batch.image, batch.valid)}


class DenoisingConfig(ReconstructionConfig):
    """Configuration of `Denoising`."""


class Denoising(ReconstructionMethod):
    """U-Net(I + noise) trained on ‖I − Î‖²: it removes coarse noise from normal images, and lesions with it.

    Kascenas, Pugeault, O'Neil, "Denoising Autoencoders for Unsupervised Anomaly Detection in Brain MRI", MIDL 2022.
    Scored without noise; its own score is the mean of |I − Î|.
    """

    name: ClassVar[str] = "denoising"
    label: ClassVar[str] = "Denoising auto-encoder"
    config_type: ClassVar[type[MethodConfig]] = DenoisingConfig

    def __init__(self, config: DenoisingConfig) -> None:
        super().__init__(config)
        self.network = EncoderDecoder(config.channels, config.channels, config.widths, config.latent_dim, skips=True)

    def _reconstruct(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        count = 1 if generator is None else len(batch.image)
        draw = torch.Generator().manual_seed(_FIXED) if generator is None else generator
        noise = ranks.mine(coarse_noise(torch.Size((count * ranks.count(), *batch.image.shape[1:])), draw))
        rebuilt = self.network(batch.image + noise.to(batch.image.device) * batch.valid)
        return {"reconstruction": terms.masked_square(rebuilt, batch.image, batch.valid)}


def coarse_noise(shape: torch.Size, generator: torch.Generator, *, cells: int = CELLS) -> Tensor:
    """Gaussian noise (B, C, H, W) on square cells, enlarged bilinearly, each image rolled by a random offset.

    Drawn on the CPU. Enlarging lowers the deviation between the centres of the cells, as in the paper.
    """
    count, channels, height, width = shape
    side = max(min(height, width) / cells, 1.0)
    grid = (max(round(height / side), 1), max(round(width / side), 1))
    noise = DEVIATION * torch.randn(count, channels, *grid, generator=generator)
    noise = functional.interpolate(noise, size=(height, width), mode="bilinear", align_corners=False)
    rows = torch.randint(height, (count, 1, 1, 1), generator=generator) + torch.arange(height)[:, None]
    columns = torch.randint(width, (count, 1, 1, 1), generator=generator) + torch.arange(width)
    noise = noise.gather(2, (rows % height).expand_as(noise))
    return noise.gather(3, (columns % width).expand_as(noise))


@dataclass(frozen=True, kw_only=True)
class MemAEConfig(ReconstructionConfig):
    """Configuration of `MemAE`."""

    memory_items: int = left_open(500, "N; MemAE takes 100 to 2000 by data set, 500 for photos", least=1)
    memory: str = ablation(
        "soft", "'soft' is MemAE's; 'nearest' is ProxyAno's (its Table IV, EncDec + mem)", choices=("soft", "nearest")
    )


class MemAE(ReconstructionMethod):
    """Its decoder sees only sparse mixtures of learned normal items.

    Gong et al., "Memorizing Normality to Detect Anomaly: Memory-augmented Deep Autoencoder", ICCV 2019. Trained on
    ‖I − Î‖² + α·entropy of the shares (Eq. 9-11); its own score is the mean of (I − Î)².
    """

    name: ClassVar[str] = "memae"
    label: ClassVar[str] = "MemAE"
    config_type: ClassVar[type[MethodConfig]] = MemAEConfig

    def __init__(self, config: MemAEConfig) -> None:
        super().__init__(config)

        def memory() -> Memory | SoftMemory:
            if config.memory == "nearest":
                return Memory(config.memory_items, config.latent_dim)
            return SoftMemory(config.memory_items, config.latent_dim, shrink=SHRINK)

        channels, widths = config.channels, config.widths
        self.network = MemoryEncoderDecoder(channels, channels, widths, config.latent_dim, memory)

    def _reconstruct(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        rebuilt, found = self.network(batch.image, batch.valid, generator)
        named = {"reconstruction": terms.masked_square(rebuilt, batch.image, batch.valid)}
        if isinstance(found, Lookup):
            return named | {"commitment": COMMITMENT * found.commitment}
        return named | {"entropy": LAMBDA_ENTROPY * found.entropy}

    def _score(self, batch: Batch) -> Scores:
        rebuilt = self.masked(self.network(batch.image, batch.valid)[0], batch)
        return self.scores(batch, rebuilt, terms.image_mean((batch.image - rebuilt).square(), batch.score_mask()))


class Posterior(NamedTuple):
    """The Gaussian q(z | I) at each latent position."""

    mean: Tensor  # (B, D, h, w)
    log_variance: Tensor  # (B, D, h, w)

    def divergence(self) -> Tensor:
        """KL(q ‖ N(0, 1)) of each value (B, D, h, w), ≥ 0."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - self.log_variance - 1)

    def draw(self, generator: torch.Generator) -> Tensor:
        """A sample, drawn on the CPU for any device."""
        noise = ranks.drawn(torch.randn, self.mean.shape, generator).to(self.mean.device)
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
    """An auto-encoder with a Gaussian latent pulled towards N(0, 1), and a Gaussian decoder of fixed variance σ².

    Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014. The negative evidence bound, times 2σ² and divided
    by the number of pixel values, is MSE + 2σ²·KL / pixel values. The own score is this loss of one image, Î from the
    latent's mean.
    """

    name: ClassVar[str] = "vae"
    label: ClassVar[str] = "VAE"
    config_type: ClassVar[type[MethodConfig]] = ReconstructionConfig

    def __init__(self, config: ReconstructionConfig) -> None:
        super().__init__(config)
        self.network: VariationalNetwork = VariationalNetwork(config)

    def _reconstruct(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        rebuilt, posterior = self.network(batch.image, generator)
        total, values = self._divergence(posterior, batch.valid).sum(), ranks.mean(self._values(batch.valid).sum())
        error = terms.masked_square(rebuilt, batch.image, batch.valid)
        return {"reconstruction": error, "divergence": KL_WEIGHT * total / values.clamp(min=1)}

    def _score(self, batch: Batch) -> Scores:
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
