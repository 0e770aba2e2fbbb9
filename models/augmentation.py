"""Random changes of place and tone of normal training images: a few hundred of them then cover more.

Draws come from the generator, on the CPU for any device; legend as in `models.method`.
"""

import torch
from torch import Tensor
from torch.nn import functional

from models.method import Batch


def varied(batch: Batch, generator: torch.Generator, *, move: float, tone: float) -> Batch:
    """A copy in which every image is moved and toned by its own draw, image and proxy alike; 0 = no change."""
    if move > 0:
        batch = _moved(batch, generator, move)
    if tone > 0:
        batch = _toned(batch, generator, tone)
    return batch


def _moved(batch: Batch, generator: torch.Generator, move: float) -> Batch:
    """Shift (share of a side), stretch of either axis and turn (radians), each uniform in ± `move`."""
    total, _, height, width = batch.image.shape
    shift, stretch, (turn,) = (move * _symmetric((n, total), generator) for n in (2, 2, 1))
    rows, cols = torch.exp(stretch)
    aspect = height / width
    theta = torch.stack(
        (
            torch.stack((cols * turn.cos(), -rows * turn.sin() * aspect, 2 * shift[0]), dim=-1),
            torch.stack((cols * turn.sin() / aspect, rows * turn.cos(), 2 * shift[1]), dim=-1),
        ),
        dim=1,
    ).to(batch.image)
    grid = functional.affine_grid(theta, [total, 1, height, width], align_corners=False)

    def sampled(value: Tensor) -> Tensor:
        return functional.grid_sample(value, grid, padding_mode="border", align_corners=False)

    def covered(mask: Tensor) -> Tensor:
        return (functional.grid_sample(mask, grid, padding_mode="zeros", align_corners=False) > 0.99).to(mask.dtype)

    return batch.changed(sampled, covered)


def _toned(batch: Batch, generator: torch.Generator, tone: float) -> Batch:
    """Gain about the mean of the valid pixels, 1 ± `tone`, and gamma, exp(± `tone`)."""
    gain, power = (tone * _symmetric((2, len(batch.image), 1, 1, 1), generator)).to(batch.image)
    mean = (batch.image * batch.valid).sum(dim=(1, 2, 3), keepdim=True)
    mean = mean / (batch.valid.sum(dim=(1, 2, 3), keepdim=True) * batch.image.shape[1]).clamp(min=1)

    def toned(value: Tensor) -> Tensor:
        found: Tensor = (mean + (1 + gain) * (value - mean)).clamp(1e-4, 1).pow(power.exp())
        return found

    return batch.changed(toned, lambda mask: mask)


def _symmetric(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform in [-1, 1]."""
    return 2 * torch.rand(shape, generator=generator) - 1
