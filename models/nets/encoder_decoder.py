"""The encoder-decoder of ProxyAno, which the reconstruction baselines share (the paper's Fig. 5 is lost).

Encoder: double conv3-GN-ReLU blocks with max-pooling between them, then a linear 1×1 convolution to the latent.
Decoder: its mirror with bilinear upsampling and a linear 1×1 head; skips are optional.
Shapes for L widths: image (B, C, H, W) ↔ latent (B, D, H/2^(L−1), W/2^(L−1)); H and W are multiples of 2^(L−1).
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.memory import Lookup, Memory, Recall, SoftMemory

AnyMemory = Memory | SoftMemory
Widths = tuple[int, ...]
GROUP = 8
"""Channels of a group of the norm. Group norm has no running statistics: an image passes as it does in training."""


class _Norm(nn.GroupNorm):
    """Group norm that keeps the precision of its input and, on the CPU, works plane by plane.

    On channels-last tensors torch splits the sums of an image between threads: the result would depend on their number.
    The copies cost less than the channels-last kernel: a training step takes 17 to 25 % less time.
    """

    def forward(self, value: Tensor) -> Tensor:
        if not value.is_cpu:
            return super().forward(value)
        with torch.autocast("cpu", enabled=False):  # would cast to float32; the sums are float32 anyway
            return super().forward(value.contiguous()).contiguous(memory_format=torch.channels_last)


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3×3 convolutions, each with group norm (Wu and He 2018) and ReLU; the size stays."""
    layers: list[nn.Module] = []
    for sizes in ((inputs, outputs), (outputs, outputs)):
        norm = _Norm(math.gcd(outputs, max(1, outputs // GROUP)), outputs)
        layers += [nn.Conv2d(*sizes, 3, padding=1, bias=False), norm, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def coarse(valid: Tensor, factor: int) -> Tensor:
    """Share of valid pixels (B, 1, h, w) in the cell of each latent position."""
    return functional.avg_pool2d(valid, factor) if factor > 1 else valid


class Encoder(nn.Module):
    """Image to latent: one double convolution per width, half the size after each but the last."""

    def __init__(self, channels: int, widths: Widths, latent_dim: int) -> None:
        super().__init__()
        self.factor = 2 ** (len(widths) - 1)
        self.blocks = nn.ModuleList(double_conv(*sizes) for sizes in pairwise((channels, *widths)))
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(widths[-1], latent_dim, 1)

    def features(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Latent, and the output of every block but the last, finest first (for skips)."""
        height, width = image.shape[-2:]
        if height % self.factor or width % self.factor:
            wanted = f"height and width must be multiples of {self.factor}, got {height}×{width}"
            raise ValueError(f"Encoder halves the size {len(self.blocks) - 1} times: {wanted}")
        outputs, value = list[Tensor](), image
        for block in self.blocks:
            value = block(self.pool(value) if outputs else value)
            outputs.append(value)
        return self.head(value), outputs[:-1]

    def forward(self, image: Tensor) -> Tensor:
        """Latent of an image."""
        return self.features(image)[0]


class Decoder(nn.Module):
    """Latent to image; `widths` are the encoder's, finest first."""

    def __init__(self, channels: int, widths: Widths, latent_dim: int, *, skips: bool = False) -> None:
        super().__init__()
        self.skips = skips
        self.entry = double_conv(latent_dim, widths[-1])
        self.blocks = nn.ModuleList(
            double_conv(inputs + outputs if skips else inputs, outputs) for inputs, outputs in pairwise(widths[::-1])
        )
        self.head = nn.Conv2d(widths[0], channels, 1)

    def forward(self, latent: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """Image of a latent; `features` are the encoder's block outputs, finest first, used only with skips."""
        value: Tensor = self.entry(latent)
        for level, block in enumerate(self.blocks, start=1):
            value = functional.interpolate(value, scale_factor=2.0, mode="bilinear", align_corners=False)
            if self.skips:
                if features is None:
                    raise ValueError("a Decoder with skips needs the encoder's features, got None")
                if value.requires_grad:  # a slice's gradient in dense memory makes backward six times faster
                    value.register_hook(lambda slope: slope.clone(memory_format=torch.channels_last))  # type: ignore[no-untyped-call]
                value = torch.cat((value, features[-level]), dim=1)
            value = block(value)
        image: Tensor = self.head(value)
        return image


class EncoderDecoder(nn.Module):
    """Image to image of the same size; with skips it is a U-Net."""

    def __init__(self, inputs: int, outputs: int, widths: Widths, latent_dim: int, *, skips: bool = False) -> None:
        super().__init__()
        self.encoder = Encoder(inputs, widths, latent_dim)
        self.decoder = Decoder(outputs, widths, latent_dim, skips=skips)

    def forward(self, image: Tensor) -> Tensor:
        """The decoded image."""
        rebuilt: Tensor = self.decoder(*self.encoder.features(image))
        return rebuilt


class MemoryEncoderDecoder(nn.Module):
    """Dec(memory(Enc(I))): the decoder sees only what the memory makes of the latent; without one, the latent itself.

    `memory` makes the memory, so that the networks draw their weights in the order encoder, memory, decoder.
    """

    def __init__(
        self, inputs: int, outputs: int, widths: Widths, latent_dim: int, memory: Callable[[], AnyMemory] | None
    ) -> None:
        super().__init__()
        self.encoder = Encoder(inputs, widths, latent_dim)
        self.memory = None if memory is None else memory()
        self.decoder = Decoder(outputs, widths, latent_dim)

    def forward(
        self, image: Tensor, valid: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Lookup | Recall | None]:
        """Decoded image and what the memory did; a nearest-item memory needs the generator while it learns."""
        latent = self.encoder(image)
        if self.memory is None:
            return self.decoder(latent), None
        inside = coarse(valid, self.encoder.factor).ge(0.5).float()
        found = self.memory(latent, generator=generator, valid=inside)
        return self.decoder(found.latent), found
