"""PatchGAN: one logit for each overlapping patch, 70×70 px with four widths.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017; with spectral norm it is
the discriminator of the ProxyAno authors' other code. Shapes: (B, C, H, W) → logits (B, 1, h, w); H and W at least 32
for four widths.
"""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.nets.start import normal_start


class PatchGAN(nn.Module):
    """4×4 convolutions with LeakyReLU 0.2, stride 2 for all widths but the last, then one to a single logit map.

    Batch or instance norm follows every convolution but the first and the last, and weights start as DCGAN's.
    Spectral norm is on every convolution; torch's own start is kept.
    """

    def __init__(
        self, channels: int, widths: tuple[int, ...], *, norm: Literal["spectral", "batch", "instance"]
    ) -> None:
        super().__init__()
        spectral = norm == "spectral"
        layers: list[nn.Module] = []
        for level, (inputs, outputs) in enumerate(pairwise((channels, *widths))):
            stride = 2 if level < len(widths) - 1 else 1
            layer = nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1, bias=spectral or level == 0)
            layers.append(spectral_norm(layer) if spectral else layer)
            if not spectral and level > 0:
                layers.append(nn.BatchNorm2d(outputs) if norm == "batch" else nn.InstanceNorm2d(outputs))
            layers.append(nn.LeakyReLU(0.2))
        last = nn.Conv2d(widths[-1], 1, 4, padding=1)
        layers.append(spectral_norm(last) if spectral else last)
        self.layers = nn.Sequential(*layers)
        if not spectral:
            self.apply(normal_start)

    def forward(self, image: Tensor) -> Tensor:
        """Logits: large where the patch looks real."""
        logits: Tensor = self.layers(image)
        return logits
