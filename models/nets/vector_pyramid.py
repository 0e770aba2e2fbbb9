"""Strided 4×4 convolutions from an image to one vector, and transposed ones back (DCGAN's pyramid).

Radford et al., "Unsupervised Representation Learning with DCGAN", ICLR 2016. The shorter side is halved until 4 px
are left (at 32 px three times, at 256 px six times), widths double from one halving to the next up to a cap, and a
last kernel over the rest makes the vector. So a net works at one image size.
"""

from itertools import pairwise

from torch import Tensor, nn

from models.nets.start import normal_start

_LEFT = 4  # px of the shorter side that the last kernel covers; 5 to 7 where the side is no power of two


class VectorEncoder(nn.Module):
    """(B, C, H, W) → vector (B, D, 1, 1), no activation after the last kernel."""

    def __init__(self, channels: int, size: tuple[int, int], width: int, widest: int, dim: int) -> None:
        super().__init__()
        self.size = size
        widths = pyramid_widths(size, width, widest)
        first = [nn.Conv2d(channels, widths[0], 4, stride=2, padding=1, bias=False), nn.LeakyReLU(0.2)]
        blocks = [nn.Sequential(*first), *(_down(inputs, outputs) for inputs, outputs in pairwise(widths))]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Conv2d(widths[-1], dim, _rest(size), bias=False)
        self.apply(normal_start)

    def features(self, image: Tensor) -> Tensor:
        """Input of the last kernel (B, width, h, w)."""
        if tuple(image.shape[-2:]) != self.size:
            raise ValueError(f"VectorEncoder is made for images of {self.size}, got {tuple(image.shape[-2:])}")
        found: Tensor = self.blocks(image)
        return found

    def forward(self, image: Tensor) -> Tensor:
        """Vector of an image."""
        vector: Tensor = self.head(self.features(image))
        return vector


class VectorDecoder(nn.Module):
    """Vector (B, D, 1, 1) → (B, C, H, W), no activation after the last kernel."""

    def __init__(self, channels: int, size: tuple[int, int], width: int, widest: int, dim: int) -> None:
        super().__init__()
        widths = pyramid_widths(size, width, widest)[::-1]
        entry = [
            nn.ConvTranspose2d(dim, widths[0], _rest(size), bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        ]
        blocks = [nn.Sequential(*entry), *(_up(inputs, outputs) for inputs, outputs in pairwise(widths))]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1, bias=False)
        self.apply(normal_start)

    def forward(self, vector: Tensor) -> Tensor:
        """Image of a vector."""
        image: Tensor = self.head(self.blocks(vector))
        return image


def pyramid_widths(size: tuple[int, int], width: int, widest: int) -> tuple[int, ...]:
    """Channels after each halving; ValueError for a size without such a pyramid."""
    halvings = (min(size) // _LEFT).bit_length() - 1
    if halvings < 1 or any(side % 2**halvings for side in size):
        raise ValueError(
            f"a pyramid halves {size} until {_LEFT} to {2 * _LEFT - 1} px are left of the shorter side: "
            f"sides are at least {2 * _LEFT} px and multiples of 2^{max(halvings, 1)}"
        )
    return tuple(min(width * 2**level, widest) for level in range(halvings))


def _rest(size: tuple[int, int]) -> tuple[int, int]:
    halvings = (min(size) // _LEFT).bit_length() - 1
    return size[0] >> halvings, size[1] >> halvings


def _down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)
    )


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
