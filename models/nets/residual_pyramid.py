"""Residual blocks from a vector to an image and from an image to a vector (the ResNet of WGAN-GP).

Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, as used by f-AnoGAN. The shorter side is
halved until 4 px are left, widths double up to a cap (`models.nets.vector_pyramid`); a net works at one image size.
"""

from itertools import pairwise

from torch import Tensor, nn

from models.nets.vector_pyramid import pyramid_widths


class ResidualGenerator(nn.Module):
    """Vector (B, D) → image (B, C, H, W) in [−1, 1]; batch norm."""

    def __init__(self, channels: int, size: tuple[int, int], width: int, widest: int, dim: int) -> None:
        super().__init__()
        widths = pyramid_widths(size, width, widest)[::-1]
        self.start = (widths[0], size[0] >> len(widths), size[1] >> len(widths))
        self.entry = nn.Linear(dim, self.start[0] * self.start[1] * self.start[2])
        self.blocks = nn.Sequential(*(_up(*sizes) for sizes in pairwise((widths[0], *widths))))
        self.head = nn.Sequential(
            nn.BatchNorm2d(widths[-1]), nn.ReLU(), nn.Conv2d(widths[-1], channels, 3, padding=1), nn.Tanh()
        )

    def forward(self, vector: Tensor) -> Tensor:
        """Image of a vector."""
        value = self.entry(vector).unflatten(1, self.start)
        image: Tensor = self.head(self.blocks(value))
        return image


class ResidualEncoder(nn.Module):
    """Image (B, C, H, W) → vector (B, D).

    A critic has layer norm, as batch norm would couple the images of the gradient penalty, and no bias at the end, as
    the Wasserstein loss does not depend on it.
    """

    def __init__(
        self, channels: int, size: tuple[int, int], width: int, widest: int, dim: int, *, critic: bool
    ) -> None:
        super().__init__()
        self.size = size
        widths = pyramid_widths(size, width, widest)
        self.entry = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.blocks = nn.Sequential(*(_down(*sizes, critic=critic) for sizes in pairwise((*widths, widths[-1]))))
        left = widths[-1] * (size[0] >> len(widths)) * (size[1] >> len(widths))
        self.head = nn.Linear(left, dim, bias=not critic)

    def features(self, image: Tensor) -> Tensor:
        """Input of the last layer (B, width, h, w)."""
        if tuple(image.shape[-2:]) != self.size:
            raise ValueError(f"ResidualEncoder is made for images of {self.size}, got {tuple(image.shape[-2:])}")
        found: Tensor = self.blocks(self.entry(image)).relu()
        return found

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
        """Both ways, added."""
        total: Tensor = self.layers(value) + self.shortcut(value)
        return total


def _up(inputs: int, outputs: int) -> _Block:
    """Pre-activation block that doubles the size by repeating pixels."""
    layers = nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Upsample(scale_factor=2.0, mode="nearest"),
        _conv(inputs, outputs),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        _conv(outputs, outputs),
    )
    return _Block(layers, nn.Sequential(_conv(inputs, outputs, 1), nn.Upsample(scale_factor=2.0, mode="nearest")))


def _down(inputs: int, outputs: int, *, critic: bool) -> _Block:
    """Pre-activation block that halves the size by means."""

    def norm() -> nn.Module:
        return nn.GroupNorm(1, inputs) if critic else nn.BatchNorm2d(inputs)

    layers = nn.Sequential(
        norm(), nn.ReLU(), _conv(inputs, inputs), norm(), nn.ReLU(), _conv(inputs, outputs), nn.AvgPool2d(2)
    )
    return _Block(layers, nn.Sequential(nn.AvgPool2d(2), _conv(inputs, outputs, 1)))


def _conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
