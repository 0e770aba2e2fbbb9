"""U-Net of strided 4×4 convolutions with a skip at every level (pix2pix's generator).

Isola et al., CVPR 2017: eight widths make the "U-Net-256". Shapes: (B, C, H, W) → (B, C, H, W) in [−1, 1];
H and W are multiples of 2^L for L widths.
"""

import torch
from torch import Tensor, nn

from models.nets.start import normal_start

_WITHOUT_DROPOUT = 4  # finest levels and the innermost one have no dropout: three of the paper's eight levels do
_DROPOUT = 0.5


class UNet(nn.Module):
    """Down: LeakyReLU, convolution, batch norm; up: ReLU, transposed convolution, batch norm, dropout inside."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        last = len(widths) - 1
        self.factor = 2 ** len(widths)
        self.down = nn.ModuleList(
            _down(inputs, outputs, first=level == 0, innermost=level == last)
            for level, (inputs, outputs) in enumerate(zip((channels, *widths[:-1]), widths, strict=True))
        )
        self.up = nn.ModuleList(  # up[level] undoes down[level]
            _up(widths[level] * (1 if level == last else 2), widths[level - 1] if level else channels, first=level == 0)
            for level in range(len(widths))
        )
        self.dropped = tuple(_WITHOUT_DROPOUT <= level < last for level in range(len(widths)))
        self.apply(normal_start)

    def forward(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The translated image; dropout is drawn from the generator, and off without one."""
        if any(side % self.factor for side in image.shape[-2:]):
            raise ValueError(
                f"a UNet of {len(self.down)} widths needs sides that are multiples of {self.factor}, "
                f"got {tuple(image.shape[-2:])}: give fewer widths"
            )
        outputs, value = list[Tensor](), image
        for block in self.down:
            value = block(value)
            outputs.append(value)
        for level in reversed(range(len(self.up))):
            if level < len(self.up) - 1:
                value = torch.cat((value, outputs[level]), dim=1)
            value = self.up[level](value)
            if self.dropped[level] and generator is not None:
                value = _drop(value, generator)
        return value.tanh()


def _drop(value: Tensor, generator: torch.Generator) -> Tensor:
    kept = (torch.rand(value.shape, generator=generator) >= _DROPOUT).to(value.device, value.dtype)
    return value * kept / (1 - _DROPOUT)


def _down(inputs: int, outputs: int, *, first: bool, innermost: bool) -> nn.Sequential:
    layers: list[nn.Module] = [] if first else [nn.LeakyReLU(0.2)]
    plain = first or innermost  # no norm
    layers.append(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=plain))
    if not plain:
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers)


def _up(inputs: int, outputs: int, *, first: bool) -> nn.Sequential:
    layers = [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=first)]
    return nn.Sequential(*layers) if first else nn.Sequential(*layers, nn.BatchNorm2d(outputs))
