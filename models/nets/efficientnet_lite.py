"""EfficientNet-lite2 up to a chosen block, with ImageNet weights, as a frozen extractor of features.

Tan and Le, "EfficientNet", ICML 2019, in the variant without squeeze-and-excite and with ReLU6
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). Names of modules are those of the
published PyTorch state dict. Legend: B images, C channels, H, W px.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEM = 32  # channels
STAGES = (  # (blocks, channels, stride of the first block, kernel, expansion)
    (1, 16, 1, 3, 1),
    (3, 24, 2, 3, 6),
    (3, 48, 2, 5, 6),
    (4, 88, 2, 3, 6),
    (4, 120, 1, 5, 6),
    (5, 208, 2, 5, 6),
    (1, 352, 1, 3, 6),
)
EPSILON = 1e-3  # of batch norm


class _Conv(nn.Conv2d):
    """Convolution without bias that pads as TensorFlow does: an odd pixel goes bottom right."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', ⌈H / stride⌉, ⌈W / stride⌉)."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, cols = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in input.shape[-2:])
        padded = F.pad(input, (cols // 2, cols - cols // 2, rows // 2, rows - rows // 2))
        return F.conv2d(padded, self.weight, stride=stride, groups=self.groups)


class _Block(nn.Module):
    """Inverted residual: expand, filter each channel, project; added to its input where the shapes agree."""

    def __init__(self, channels: int, out: int, stride: int, kernel: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and channels == out
        if self.expands:
            self._expand_conv = _Conv(channels, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=EPSILON)
        self._depthwise_conv = _Conv(wide, wide, kernel, stride=stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=EPSILON)
        self._project_conv = _Conv(wide, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, eps=EPSILON)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H', W')."""
        hidden = F.relu6(self._bn0(self._expand_conv(features))) if self.expands else features
        hidden = F.relu6(self._bn1(self._depthwise_conv(hidden)))
        projected: Tensor = self._bn2(self._project_conv(hidden))
        return features + projected if self.adds else projected


class EfficientNetLite2(nn.Module):
    """The network without its classifier, in evaluation mode and without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _Conv(3, STEM, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM, eps=EPSILON)
        blocks, channels = [], STEM
        for count, out, stride, kernel, expansion in STAGES:
            for number in range(count):
                blocks.append(_Block(channels, out, stride if number == 0 else 1, kernel, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self.eval().requires_grad_(False)

    @classmethod
    def pretrained(cls, weights: Path) -> "EfficientNetLite2":
        """Read a state dict; ``ValueError`` if it is that of another network."""
        state, network = torch.load(weights, map_location="cpu", weights_only=True), cls()
        wanted = network.state_dict()
        if missing := sorted(set(wanted) - set(state)):
            raise ValueError(f"{weights}: expected the weights of EfficientNet-lite2, got none of {missing[0]}")
        network.load_state_dict({name: state[name] for name in wanted})
        return network

    def forward(self, image: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Outputs of some blocks, numbered from 0, for images (B, 3, H, W) in [0, 1]; ``ValueError`` if unknown."""
        if not blocks or not set(blocks) <= set(range(len(self._blocks))):
            raise ValueError(f"EfficientNetLite2: expected blocks of 0 to {len(self._blocks) - 1}, got {blocks}")
        hidden, found = F.relu6(self._bn0(self._conv_stem(image * 2 - 1))), []
        for number, block in enumerate(self._blocks[: max(blocks) + 1]):
            hidden = block(hidden)
            if number in blocks:
                found.append(hidden)
        return found
