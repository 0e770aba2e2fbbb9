"""Denoising auto-encoder: a U-Net removes coarse noise from normal images, and lesions with it.

Kascenas, Pugeault, O'Neil, "Denoising Autoencoders for Unsupervised Anomaly Detection in Brain MRI", MIDL 2022.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from models import losses as terms
from models.method import Batch, MethodConfig, Scores
from models.methods.reconstruction import ReconstructionConfig, ReconstructionMethod
from models.nets.encoder_decoder import EncoderDecoder

DEVIATION = 0.2
"""Standard deviation of the coarse noise before it is enlarged (stated)."""
CELLS = 16
"""Square cells of the coarse noise along the shorter side (stated): 8 px at 128."""
_FIXED = 1  # seed of the one noise field of all validation images: losses stay comparable between steps


@dataclass(frozen=True, kw_only=True)
class DenoisingConfig(ReconstructionConfig):
    """Configuration of `Denoising`."""


class Denoising(ReconstructionMethod):
    """U-Net(I + noise) trained on ‖I − Î‖²; scored without noise, its own score is the mean of |I − Î|."""

    name: ClassVar[str] = "denoising"
    label: ClassVar[str] = "Denoising auto-encoder"
    config_type: ClassVar[type[MethodConfig]] = DenoisingConfig

    def __init__(self, config: DenoisingConfig) -> None:
        super().__init__(config)
        self.network = EncoderDecoder(config.channels, config.channels, config.widths, config.latent_dim, skips=True)

    def _reconstruct(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        shape = batch.image.shape
        if generator is None:
            noise = coarse_noise(torch.Size((1, *shape[1:])), torch.Generator().manual_seed(_FIXED))
        else:
            noise = coarse_noise(shape, generator)
        rebuilt = self.network(batch.image + noise.to(batch.image.device) * batch.valid)
        return {"reconstruction": terms.masked_square(rebuilt, batch.image, batch.valid)}

    def _score(self, batch: Batch) -> Scores:
        return self.scores(batch, self.masked(self.network(batch.image), batch))


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
