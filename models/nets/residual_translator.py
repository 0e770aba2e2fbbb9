"""ResNet generator from one image domain to another (CycleGAN).

Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV 2017, after
Johnson et al. Shapes: (B, C, H, W) → (B, C, H, W) in [−1, 1]; H and W are multiples of 2^(L−1) for L widths.
"""

from itertools import pairwise

from torch import Tensor, nn

from models.nets.start import normal_start


class ResidualTranslator(nn.Module):
    """7×7, a strided 3×3 for each further width, residual blocks, and the way back; instance norm, reflected edges."""

    def __init__(self, channels: int, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.factor = 2 ** (len(widths) - 1)
        layers: list[nn.Module] = [_edge(channels, widths[0]), *_ready(widths[0])]
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), *_ready(outputs)]
        layers += [_Residual(widths[-1]) for _ in range(blocks)]
        for inputs, outputs in pairwise(widths[::-1]):
            back = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=False)
            layers += [back, *_ready(outputs)]
        layers += [_edge(widths[0], channels, bias=True), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(normal_start)

    def forward(self, image: Tensor) -> Tensor:
        """The image in the other domain."""
        if any(side % self.factor for side in image.shape[-2:]):
            raise ValueError(
                f"a ResidualTranslator needs sides that are multiples of {self.factor}, got {tuple(image.shape[-2:])}"
            )
        other: Tensor = self.layers(image)
        return other


class _Residual(nn.Module):
    """x + conv(relu(conv(x))), each convolution with instance norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_inner(width), *_ready(width), _inner(width), nn.InstanceNorm2d(width))

    def forward(self, value: Tensor) -> Tensor:
        """Same shape."""
        changed: Tensor = self.layers(value)
        return value + changed


def _ready(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(width), nn.ReLU(inplace=True)


def _edge(inputs: int, outputs: int, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 7, padding=3, padding_mode="reflect", bias=bias)


def _inner(width: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=False)
