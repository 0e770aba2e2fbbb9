"""PatchGAN: one logit for each overlapping patch, 70×70 px with four widths.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017. Shapes:
(B, C, H, W) → logits (B, 1, h, w); H and W at least 32 for four widths. `models.nets.discriminator` is the same net
with spectral norm in place of the norms.
"""

from torch import Tensor, nn

from models.nets.start import normal_start

NORMS = ("batch", "instance")


class PatchGAN(nn.Module):
    """4×4 convolutions, stride 2 for all widths but the last, LeakyReLU 0.2; no norm after the first."""

    def __init__(self, channels: int, widths: tuple[int, ...], *, norm: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for level, (inputs, outputs) in enumerate(zip((channels, *widths[:-1]), widths, strict=True)):
            stride = 2 if level < len(widths) - 1 else 1
            layers.append(nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1, bias=level == 0))
            if level > 0:
                layers.append(norm_layer(norm, outputs))
            layers.append(nn.LeakyReLU(0.2))
        layers.append(nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)
        self.apply(normal_start)

    def forward(self, image: Tensor) -> Tensor:
        """Logits: large where the patch looks real."""
        logits: Tensor = self.layers(image)
        return logits


def norm_layer(norm: str, width: int) -> nn.Module:
    """Batch norm, or instance norm without weights; a ValueError for any other word."""
    if norm not in NORMS:
        raise ValueError(f"a norm is one of {', '.join(NORMS)}, got {norm!r}")
    return nn.BatchNorm2d(width) if norm == "batch" else nn.InstanceNorm2d(width)
