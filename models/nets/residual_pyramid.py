"""Residual blocks from a vector to an image and from an image to a vector (the ResNet of WGAN-GP).

Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, as f-AnoGAN takes it. The shorter side is
halved until 4 px are left, widths double up to a cap (`models.nets.vector_pyramid`); a net belongs to one image size.
"""

from torch import Tensor, nn
from torch.nn import functional

from models.nets.vector_pyramid import pyramid_widths


class ResidualGenerator(nn.Module):
    """Vector (B, D) → image (B, C, H, W) in [−1, 1]; batch norm."""

    def __init__(self, channels: int, size: tuple[int, int], width: int, widest: int, dim: int) -> None:
        super().__init__()
        widths = pyramid_widths(size, width, widest)[::-1]
        self.start = (widths[0], size[0] >> len(widths), size[1] >> len(widths))
        self.entry = nn.Linear(dim, self.start[0] * self.start[1] * self.start[2])
        self.blocks = nn.Sequential(
            *(_Up(inputs, outputs) for inputs, outputs in zip((widths[0], *widths[:-1]), widths, strict=True))
        )
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

    As a critic: layer norm (batch norm would tie the images that the gradient penalty takes one by one), and no bias
    at the end, as the Wasserstein loss does not depend on it.
    """

    def __init__(
        self, channels: int, size: tuple[int, int], width: int, widest: int, dim: int, *, critic: bool
    ) -> None:
        super().__init__()
        self.size = size
        widths = pyramid_widths(size, width, widest)
        self.entry = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.blocks = nn.Sequential(
            *(
                _Down(inputs, outputs, critic=critic)
                for inputs, outputs in zip(widths, (*widths[1:], widths[-1]), strict=True)
            )
        )
        left = widths[-1] * (size[0] >> len(widths)) * (size[1] >> len(widths))
        self.head = nn.Linear(left, dim, bias=not critic)

    def features(self, image: Tensor) -> Tensor:
        """What the last layer sees (B, width, h, w)."""
        if tuple(image.shape[-2:]) != self.size:
            raise ValueError(f"ResidualEncoder is made for images of {self.size}, got {tuple(image.shape[-2:])}")
        found: Tensor = self.blocks(self.entry(image)).relu()
        return found

    def forward(self, image: Tensor) -> Tensor:
        """Vector of an image."""
        vector: Tensor = self.head(self.features(image).flatten(1))
        return vector


class _Up(nn.Module):
    """Pre-activation residual block that doubles the size by repeating pixels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.second = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.third = nn.Sequential(
            nn.BatchNorm2d(outputs), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, value: Tensor) -> Tensor:
        """Twice the size."""
        inner = self.third(self.second(_doubled(self.first(value))))
        total: Tensor = inner + _doubled(self.shortcut(value))
        return total


class _Down(nn.Module):
    """Pre-activation residual block that halves the size by means."""

    def __init__(self, inputs: int, outputs: int, *, critic: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _norm(inputs, critic=critic),
            nn.ReLU(),
            nn.Conv2d(inputs, inputs, 3, padding=1, bias=False),
            _norm(inputs, critic=critic),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.AvgPool2d(2),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, value: Tensor) -> Tensor:
        """Half the size."""
        total: Tensor = self.layers(value) + self.shortcut(value)
        return total


def _norm(width: int, *, critic: bool) -> nn.Module:
    return nn.GroupNorm(1, width) if critic else nn.BatchNorm2d(width)


def _doubled(value: Tensor) -> Tensor:
    return functional.interpolate(value, scale_factor=2.0, mode="nearest")
