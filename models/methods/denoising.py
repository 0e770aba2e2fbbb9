"""Denoising auto-encoder: a U-Net takes coarse noise off normal images, and lesions with it.

Kascenas, Pugeault, O'Neil, "Denoising Autoencoders for Unsupervised Anomaly Detection in Brain MRI", MIDL 2022.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from models import losses as terms
from models.card import left_open, stated
from models.method import Batch, MethodConfig, Scores
from models.methods.reconstruction import ReconstructionConfig, ReconstructionMethod
from models.nets.encoder_decoder import EncoderDecoder

_FIXED = 1  # seed of the one noise field that all validation images get: losses stay comparable from step to step


@dataclass(frozen=True, kw_only=True)
class DenoisingConfig(ReconstructionConfig):
    """Configuration of `Denoising`."""

    latent_dim: int = field(
        default=512, metadata=left_open("channels at the lowest level: as its width, since there is no bottleneck")
    )
    noise_deviation: float = field(
        default=0.2, metadata=stated("standard deviation of the coarse noise before it is enlarged, range [0, 1], > 0")
    )
    noise_cells: int = field(
        default=16,
        metadata=stated("cells of the coarse noise along the shorter side, ≥ 1; cells are square, 8 px at 128"),
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        self._at_least("noise_cells", 1)
        if not self.noise_deviation > 0:
            raise ValueError(f"DenoisingConfig.noise_deviation is above 0, got {self.noise_deviation}")


class Denoising(ReconstructionMethod):
    """U-Net(I + noise) trained on ‖I − Î‖²; without noise at test time, its own score is the mean of |I − Î|."""

    name: ClassVar[str] = "denoising"
    config_type: ClassVar[type[MethodConfig]] = DenoisingConfig
    config: DenoisingConfig

    def __init__(self, config: DenoisingConfig) -> None:
        super().__init__()
        self.config = config
        self.network = EncoderDecoder(
            config.channels, config.widths, config.latent_dim, skips=True, sigmoid=config.head == "sigmoid"
        )

    def _losses(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        shape = batch.image.shape
        if generator is None:
            noise = self._noise(torch.Size((1, *shape[1:])), torch.Generator().manual_seed(_FIXED))
        else:
            noise = self._noise(shape, generator)
        rebuilt = self.network(batch.image + noise.to(batch.image.device) * batch.valid)
        return {"reconstruction": terms.masked_square(rebuilt, batch.image, batch.valid)}

    def _score(self, batch: Batch) -> Scores:
        """Mean |I − Î| over scored pixels, and the scores for all."""
        batch = self.filled(batch)
        rebuilt = self.masked(self.network(batch.image), batch)
        return self.scores(batch, rebuilt, terms.image_mean((batch.image - rebuilt).abs(), batch.score_mask()))

    def _noise(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        return coarse_noise(shape, generator, deviation=self.config.noise_deviation, cells=self.config.noise_cells)


def coarse_noise(shape: torch.Size, generator: torch.Generator, *, deviation: float, cells: int) -> Tensor:
    """Gaussian noise (B, C, H, W) on square cells, enlarged bilinearly, each image's rolled by a random offset.

    Drawn on the CPU. Enlarging lowers the deviation between the cells' centres, as in the paper.
    """
    count, channels, height, width = shape
    side = max(min(height, width) / cells, 1.0)
    grid = (max(round(height / side), 1), max(round(width / side), 1))
    noise = deviation * torch.randn(count, channels, *grid, generator=generator)
    noise = functional.interpolate(noise, size=(height, width), mode="bilinear", align_corners=False)
    rows = torch.randint(height, (count, 1, 1, 1), generator=generator) + torch.arange(height)[:, None]
    columns = torch.randint(width, (count, 1, 1, 1), generator=generator) + torch.arange(width)
    noise = noise.gather(2, (rows % height).expand_as(noise))
    return noise.gather(3, (columns % width).expand_as(noise))
