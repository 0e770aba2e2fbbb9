"""Losses over valid pixels; every one is a mean, which differs from the paper's sums by a constant factor only.

Legend: B images, C channels, H, W pixels; masks are (B, 1, H, W) of zeros and ones.
"""

import torch
from torch import Tensor
from torch.nn import functional

from models import ranks


def masked_square(value: Tensor, target: Tensor, mask: Tensor, over: Tensor | None = None) -> Tensor:
    """Squared error summed inside `mask`, divided by the number of values inside `over` (default: the mask)."""
    square = (value.float() - target.float()).square() * mask
    count = ranks.mean((mask if over is None else over).sum()) * value.shape[1]
    return square.sum() / count.clamp(min=1)


def masked_absolute(value: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error inside `mask`."""
    total = ((value.float() - target.float()).abs() * mask).sum()
    return total / (ranks.mean(mask.sum()) * value.shape[1]).clamp(min=1)


def _log_sigmoid(logits: Tensor) -> Tensor:
    return functional.logsigmoid(logits.float()).mean()


def generator_adversarial(fake: Tensor, *, saturating: bool) -> Tensor:
    """Loss of a generator from logits: E[log(1 − D)] as in Eq. 8-10 (E[log D(I)] is constant), or −E[log D]."""
    return _log_sigmoid(-fake) if saturating else -_log_sigmoid(fake)


def discriminator_adversarial(real: Tensor, fake: Tensor) -> Tensor:
    """Loss of a discriminator from logits: −E[log D(real)] − E[log(1 − D(fake))] (Eq. 8-10, maximised)."""
    return -_log_sigmoid(real) - _log_sigmoid(-fake)


def frobenius(difference: Tensor, mask: Tensor) -> Tensor:
    """Frobenius norm (B,) of (B, D, h, w) inside a mask or weight (B, 1, h, w) in [0, 1] (Eq. 13).

    Divided by the root of the mask's mean (1 where every pixel is scored), so that showing less looks no more normal.
    """
    total = (difference.float().square() * mask).flatten(1).sum(dim=1)
    return torch.sqrt(total / mask.flatten(1).mean(dim=1).clamp(min=1e-6))


def image_mean(value: Tensor, mask: Tensor) -> Tensor:
    """Mean (B,) of (B, D, h, w) for each image, inside a mask or weight (B, 1, h, w) in [0, 1]; 0 where it is empty."""
    total = (value.float() * mask).flatten(1).sum(dim=1)
    return total / (mask.flatten(1).sum(dim=1) * value.shape[1]).clamp(min=1e-6)
