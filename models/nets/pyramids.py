"""Networks from an image to one vector and back, at one image size: DCGAN's 4×4 convolutions, WGAN-GP's ResNet.

The shorter side is halved until 4 px are left (at 32 px three times, at 256 px six times); widths double from one
halving to the next up to a cap. Radford et al., "Unsupervised Representation Learning with DCGAN", ICLR 2016;
Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, as used by f-AnoGAN.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.ranks import BatchNorm

Size = tuple[int, int]
"""Rows and columns of the images."""
_LEFT = 4  # px of the shorter side that the last kernel covers; 5 to 7 where the side is no power of two


class VectorEncoder(nn.Module):
    """(B, C, H, W) → vector (B, D, 1, 1), no activation after the last kernel."""

    def __init__(self, channels: int, size: Size, width: int, widest: int, dim: int) -> None:
        super().__init__()
        self.size = size
        widths = pyramid_widths(size, width, widest)
        first = [nn.Conv2d(channels, widths[0], 4, stride=2, padding=1, bias=False), nn.LeakyReLU(0.2)]
        self.blocks = nn.Sequential(nn.Sequential(*first), *(_halved(*sizes) for sizes in pairwise(widths)))
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

    def __init__(self, channels: int, size: Size, width: int, widest: int, dim: int) -> None:
        super().__init__()
        widths = pyramid_widths(size, width, widest)[::-1]
        entry = nn.ConvTranspose2d(dim, widths[0], _rest(size), bias=False), *_normed(widths[0])
        self.blocks = nn.Sequential(nn.Sequential(*entry), *(_doubled(*sizes) for sizes in pairwise(widths)))
        self.head = nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1, bias=False)
        self.apply(normal_start)

    def forward(self, vector: Tensor) -> Tensor:
        """Image of a vector."""
        image: Tensor = self.head(self.blocks(vector))
        return image


class ResidualGenerator(nn.Module):
    """Vector (B, D) → image (B, C, H, W) in [−1, 1]; batch norm."""

    def __init__(self, channels: int, size: Size, width: int, widest: int, dim: int) -> None:
        super().__init__()
        widths = pyramid_widths(size, width, widest)[::-1]
        self.start = (widths[0], *_rest(size))
        self.entry = nn.Linear(dim, math.prod(self.start))
        self.blocks = nn.Sequential(*(_up(*sizes) for sizes in pairwise((widths[0], *widths))))
        last = nn.Conv2d(widths[-1], channels, 3, padding=1)
        self.head = nn.Sequential(BatchNorm(widths[-1]), nn.ReLU(), last, nn.Tanh())

    def forward(self, vector: Tensor) -> Tensor:
        """Image of a vector."""
        image: Tensor = self.head(self.blocks(self.entry(vector).unflatten(1, self.start)))
        return image


class ResidualEncoder(nn.Module):
    """Image (B, C, H, W) → vector (B, D).

    A critic has layer norm (batch norm couples the images of the gradient penalty), and no bias at the end, on which
    the Wasserstein loss does not depend.
    """

    def __init__(self, channels: int, size: Size, width: int, widest: int, dim: int, *, critic: bool) -> None:
        super().__init__()
        self.size = size
        widths = pyramid_widths(size, width, widest)
        self.entry = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.blocks = nn.Sequential(*(_down(*sizes, critic=critic) for sizes in pairwise((*widths, widths[-1]))))
        self.head = nn.Linear(widths[-1] * math.prod(_rest(size)), dim, bias=not critic)

    def features(self, image: Tensor) -> Tensor:
        """Input of the last layer (B, width, h, w)."""
        if tuple(image.shape[-2:]) != self.size:
            raise ValueError(f"ResidualEncoder is made for images of {self.size}, got {tuple(image.shape[-2:])}")
        return torch.relu(self.blocks(self.entry(image)))

    def forward(self, image: Tensor) -> Tensor:
        """Vector of an image."""
        vector: Tensor = self.head(self.features(image).flatten(1))
        return vector


class _Block(nn.Module):
    """The sum of some layers and a shortcut."""

    def __init__(self, layers: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.layers, self.shortcut = layers, shortcut

    def forward(self, value: Tensor) -> Tensor:
        return torch.add(self.layers(value), self.shortcut(value))


def _up(inputs: int, outputs: int) -> _Block:
    """Pre-activation block that doubles the size by repeating pixels."""
    first = BatchNorm(inputs), nn.ReLU(), nn.Upsample(scale_factor=2.0, mode="nearest"), _conv(inputs, outputs)
    layers = nn.Sequential(*first, BatchNorm(outputs), nn.ReLU(), _conv(outputs, outputs))
    return _Block(layers, nn.Sequential(_conv(inputs, outputs, 1), nn.Upsample(scale_factor=2.0, mode="nearest")))


def _down(inputs: int, outputs: int, *, critic: bool) -> _Block:
    """Pre-activation block that halves the size by means."""

    def norm() -> nn.Module:
        return nn.GroupNorm(1, inputs) if critic else BatchNorm(inputs)

    first = norm(), nn.ReLU(), _conv(inputs, inputs)
    layers = nn.Sequential(*first, norm(), nn.ReLU(), _conv(inputs, outputs), nn.AvgPool2d(2))
    return _Block(layers, nn.Sequential(nn.AvgPool2d(2), _conv(inputs, outputs, 1)))


def _conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)


def pyramid_widths(size: Size, width: int, widest: int) -> tuple[int, ...]:
    """Channels after each halving; ValueError for a size without such a pyramid."""
    halvings = (min(size) // _LEFT).bit_length() - 1
    if halvings < 1 or any(side % 2**halvings for side in size):
        what = f"a pyramid halves {size} until {_LEFT} to {2 * _LEFT - 1} px are left of the shorter side"
        raise ValueError(f"{what}: sides are at least {2 * _LEFT} px and multiples of 2^{max(halvings, 1)}")
    return tuple(min(width * 2**level, widest) for level in range(halvings))


def _rest(size: Size) -> Size:
    """What the halvings leave of a size."""
    halvings = len(pyramid_widths(size, 1, 1))
    return size[0] >> halvings, size[1] >> halvings


def _halved(inputs: int, outputs: int) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(layer, BatchNorm(outputs), nn.LeakyReLU(0.2))


def _doubled(inputs: int, outputs: int) -> nn.Sequential:
    layer = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(layer, *_normed(outputs))


def _normed(width: int) -> tuple[nn.Module, nn.Module]:
    return BatchNorm(width), nn.ReLU(inplace=True)


def normal_start(module: nn.Module) -> None:
    """N(0, 0.02) for kernels, N(1, 0.02) for the factors of batch norm: DCGAN's, kept by pix2pix and CycleGAN."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
