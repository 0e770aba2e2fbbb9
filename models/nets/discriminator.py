"""Patch discriminator: spectral-norm 4×4 convolutions with LeakyReLU 0.2 and no batch norm.

Shapes: (B, C, H, W) → logits (B, 1, h, w), one for each overlapping patch; H and W at least 32 for four widths.
"""

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    """One convolution a width, stride 2 for all but the last, and a final one to a single logit map."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for level, (inputs, outputs) in enumerate(zip((channels, *widths[:-1]), widths, strict=True), start=1):
            stride = 2 if level < len(widths) else 1
            layers.append(spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1)))
            layers.append(nn.LeakyReLU(0.2))
        layers.append(spectral_norm(nn.Conv2d(widths[-1], 1, 4, padding=1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """Logits: large where the patch looks like a real image."""
        logits: Tensor = self.layers(image)
        return logits
