"""Image translation: pix2pix's U-Net, CycleGAN's ResNet and image pool, and the PatchGAN discriminator of both.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017. Zhu et al., "Unpaired
Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV 2017. Translators map (B, C, H, W) to
(B, C, H, W) in [−1, 1].
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.nets.pyramids import normal_start
from models.ranks import BatchNorm, drawn, everyone, mine

Norm = Literal["spectral", "batch", "instance"]
_WITHOUT_DROPOUT = 4  # finest levels and the innermost one have no dropout: three of the paper's eight levels do
_DROPOUT = 0.5


class PatchGAN(nn.Module):
    """One logit for each overlapping patch, 70×70 px with four widths: (B, C, H, W) → (B, 1, h, w); H, W ≥ 32 then.

    4×4 convolutions with LeakyReLU 0.2, stride 2 for all widths but the last, then one to a single logit map. Batch or
    instance norm follows every convolution but the first and the last, and weights start as DCGAN's. Spectral norm, as
    in the ProxyAno authors' other code, is on every convolution; torch's own start is kept.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], *, norm: Norm) -> None:
        super().__init__()
        spectral = norm == "spectral"
        layers: list[nn.Module] = []
        for level, (inputs, outputs) in enumerate(pairwise((channels, *widths))):
            stride = 2 if level < len(widths) - 1 else 1
            layer = nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1, bias=spectral or level == 0)
            layers.append(spectral_norm(layer) if spectral else layer)
            if not spectral and level > 0:
                layers.append(BatchNorm(outputs) if norm == "batch" else nn.InstanceNorm2d(outputs))
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


class UNet(nn.Module):
    """pix2pix's generator: strided 4×4 convolutions and a skip at every level; eight widths make the "U-Net-256".

    Down: LeakyReLU, convolution, batch norm; up: ReLU, transposed convolution, batch norm, dropout inside. H and W are
    multiples of 2^L for L widths.
    """

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
            wanted = f"a UNet of {len(self.down)} widths needs sides that are multiples of {self.factor}"
            raise ValueError(f"{wanted}, got {tuple(image.shape[-2:])}: give fewer widths")
        outputs, value = list[Tensor](), image
        for block in self.down:
            value = block(value)
            outputs.append(value)
        for level in reversed(range(len(self.up))):
            value = self.up[level](value if value is outputs[level] else torch.cat((value, outputs[level]), dim=1))
            if self.dropped[level] and generator is not None:
                kept = drawn(torch.rand, value.shape, generator) >= _DROPOUT
                value = value * kept.to(value.device, value.dtype) / (1 - _DROPOUT)
        return value.tanh()


def _down(inputs: int, outputs: int, *, first: bool, innermost: bool) -> nn.Sequential:
    layers: list[nn.Module] = [] if first else [nn.LeakyReLU(0.2)]
    plain = first or innermost  # no norm
    layers.append(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=plain))
    if not plain:
        layers.append(BatchNorm(outputs))
    return nn.Sequential(*layers)


def _up(inputs: int, outputs: int, *, first: bool) -> nn.Sequential:
    layers = [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=first)]
    return nn.Sequential(*layers) if first else nn.Sequential(*layers, BatchNorm(outputs))


class ResidualTranslator(nn.Module):
    """CycleGAN's generator, after Johnson et al.; H and W are multiples of 2^(L−1) for L widths.

    7×7, a strided 3×3 for each further width, residual blocks, and the way back; instance norm, reflected edges.
    """

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
            got = tuple(image.shape[-2:])
            raise ValueError(f"a ResidualTranslator needs sides that are multiples of {self.factor}, got {got}")
        other: Tensor = self.layers(image)
        return other


class _Residual(nn.Module):
    """x + conv(relu(conv(x))), each convolution with instance norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=False) for _ in range(2))
        self.layers = nn.Sequential(first, *_ready(width), second, nn.InstanceNorm2d(width))

    def forward(self, value: Tensor) -> Tensor:
        return torch.add(value, self.layers(value))


def _ready(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(width), nn.ReLU(inplace=True)


def _edge(inputs: int, outputs: int, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 7, padding=3, padding_mode="reflect", bias=bias)


class ImagePool(nn.Module):
    """Up to `count` earlier fakes (C, H, W) in [0, 1], which CycleGAN's discriminators see again.

    Kept as uint8 buffers, so that a resumed training has the same. Shrivastava et al., "Learning from Simulated and
    Unsupervised Images through Adversarial Training", CVPR 2017.
    """

    images: Tensor
    held: Tensor

    def __init__(self, count: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(count, channels, *size, dtype=torch.uint8))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, fresh: Tensor, generator: torch.Generator) -> Tensor:
        """Each image of (B, C, H, W), kept while there is room; later half of the time the earlier one it replaces."""
        count = len(self.images)
        if fresh.shape[1:] != self.images.shape[1:]:
            kept, got = tuple(self.images.shape[1:]), tuple(fresh.shape[1:])
            raise ValueError(f"ImagePool keeps {kept}, got {got}: set `size`")
        fresh = everyone(fresh)
        given, stored = fresh.clone(), (fresh.float().clamp(0, 1) * 255).round().to(torch.uint8)
        swaps = torch.rand(len(fresh), generator=generator) < 0.5
        places = torch.randint(count, (len(fresh),), generator=generator)
        for row, place in enumerate(places):
            if self.held < count:
                self.images[int(self.held)] = stored[row]
                self.held += 1
            elif swaps[row]:
                given[row] = self.images[place].to(fresh.dtype) / 255
                self.images[place] = stored[row]
        return mine(given)
