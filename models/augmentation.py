"""Random changes of place and tone of normal training images, so that a few hundred of them stand for more.

Draws come from the generator, on the CPU, whatever the device; legend as in `models.method`.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from models.method import Batch

TRIES = 3
"""Places drawn for a crop; the one with the most data is taken."""


def varied(batch: Batch, generator: torch.Generator, *, move: float, tone: float, crop: int = 0) -> Batch:
    """A copy in which every image is cut, moved and toned by its own draw; image and proxy alike, 0 = left as it is."""
    if crop and crop < min(batch.image.shape[-2:]):
        batch = _cut(batch, generator, crop)
    if move > 0:
        batch = _moved(batch, generator, move)
    if tone > 0:
        batch = _toned(batch, generator, tone)
    return batch


def _cut(batch: Batch, generator: torch.Generator, side: int) -> Batch:
    """A square of `side` px from a random place of every image."""
    total, _, height, width = batch.image.shape
    tops = torch.randint(height - side + 1, (TRIES, total), generator=generator).tolist()
    lefts = torch.randint(width - side + 1, (TRIES, total), generator=generator).tolist()

    def window(value: Tensor, row: int, place: int) -> Tensor:
        top, left = tops[place][row], lefts[place][row]
        return value[row, :, top : top + side, left : left + side]

    def most(row: int) -> int:
        return max(range(TRIES), key=lambda place: float(window(batch.valid, row, place).sum()))

    places = [most(row) for row in range(total)]

    def cut(value: Tensor) -> Tensor:
        return torch.stack([window(value, row, place) for row, place in enumerate(places)])

    return _changed(batch, cut, cut)


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

    return _changed(batch, sampled, covered)


def _toned(batch: Batch, generator: torch.Generator, tone: float) -> Batch:
    """Gain about the mean of the valid pixels, 1 ± `tone`, and gamma, exp(± `tone`)."""
    gain, power = (tone * _symmetric((2, len(batch.image), 1, 1, 1), generator)).to(batch.image)
    mean = (batch.image * batch.valid).sum(dim=(1, 2, 3), keepdim=True)
    mean = mean / (batch.valid.sum(dim=(1, 2, 3), keepdim=True) * batch.image.shape[1]).clamp(min=1)

    def changed(value: Tensor) -> Tensor:
        toned: Tensor = (mean + (1 + gain) * (value - mean)).clamp(1e-4, 1).pow(power.exp())
        return toned

    return _changed(batch, changed, lambda mask: mask)


def _changed(batch: Batch, pixels: Callable[[Tensor], Tensor], masks: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with its image and proxy changed alike, and its masks."""
    return Batch(
        pixels(batch.image),
        None if batch.proxy is None else pixels(batch.proxy),
        masks(batch.valid),
        None if batch.scored is None else masks(batch.scored),
    )


def _symmetric(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform in [-1, 1]."""
    return 2 * torch.rand(shape, generator=generator) - 1
