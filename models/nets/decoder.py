"""Convolutional decoder: the encoder's mirror with bilinear upsampling and a 1×1 head.

Shapes: (B, D, H/2^(L−1), W/2^(L−1)) → (B, C, H, W) for L widths; skips are off unless asked for.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.encoder import double_conv


def _dense(gradient: Tensor) -> Tensor:
    """The gradient of a part of a concatenation as an array of its own: backward is six times faster so."""
    return gradient.clone(memory_format=torch.channels_last)


class Decoder(nn.Module):
    """Latent to image; `widths` are the encoder's, finest first."""

    def __init__(self, channels: int, widths: tuple[int, ...], latent_dim: int, *, skips: bool, sigmoid: bool) -> None:
        super().__init__()
        self.skips = skips
        self.sigmoid = sigmoid
        self.entry = double_conv(latent_dim, widths[-1])
        coarse_to_fine = widths[::-1]
        self.blocks = nn.ModuleList(
            double_conv(inputs + outputs if skips else inputs, outputs) for inputs, outputs in pairwise(coarse_to_fine)
        )
        self.head = nn.Conv2d(widths[0], channels, 1)

    def forward(self, latent: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """Image of a latent; `features` are the encoder's block outputs, finest first, used only with skips."""
        value: Tensor = self.entry(latent)
        for level, block in enumerate(self.blocks, start=1):
            value = functional.interpolate(value, scale_factor=2.0, mode="bilinear", align_corners=False)
            if self.skips:
                if features is None:
                    raise ValueError("a Decoder with skips needs the encoder's features, got None")
                if value.requires_grad:
                    value.register_hook(_dense)  # type: ignore[no-untyped-call]
                value = torch.cat((value, features[-level]), dim=1)
            value = block(value)
        image: Tensor = self.head(value)
        return image.sigmoid() if self.sigmoid else image
