"""Distance of generated images to real ones, without a discriminator: the validation loss of GAN stages.

Székely and Rizzo's energy distance 2E‖x − g‖ − E‖x − x'‖ − E‖g − g'‖ is 0 only for equal distributions, so it detects
both dissimilar and too uniform images. It draws nothing, and is comparable between steps.
"""

import torch
from torch import Tensor
from torch.nn import functional

_SIDE = 16  # px that the shorter side keeps: shape and brightness count, grain does not


def energy_distance(real: Tensor, made: Tensor) -> Tensor:
    """Energy distance (), ≥ 0, of two sets of images (B, C, H, W), in units of a pixel's value."""
    first, second = _coarse(real), _coarse(made)
    across, within, among = (_mean_distance(*pair) for pair in ((first, second), (first, first), (second, second)))
    return 2 * across - within - among


def _coarse(images: Tensor) -> Tensor:
    factor = max(min(images.shape[-2:]) // _SIDE, 1)
    return functional.avg_pool2d(images.float(), factor).flatten(1)


def _mean_distance(first: Tensor, second: Tensor) -> Tensor:
    distances = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
    mean: Tensor = distances.mean() / float(first.shape[1]) ** 0.5
    return mean
