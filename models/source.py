"""Training data: uint8 images, proxies and validity in memory, the order of the batches, their random changes.

Draws come from the generator, on the CPU for any device; legend as in `models.method`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models import ranks
from models.method import Batch

Bytes = NDArray[np.uint8]
Mask = Bytes | NDArray[np.bool_]


class Source(Protocol):
    """Images to train on or to validate with, in memory or read while the training runs."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""

    def __len__(self) -> int: ...

    def order(self, batch_size: int, seed: int) -> "Order":
        """The order of its rows in training."""

    def prepare(self, order: "Order", step: int) -> None:
        """Begin to read what the steps from `step` on take; let go of the rest."""

    def batch(self, rows: Tensor) -> Batch:
        """The images of those rows (int64), on the CPU."""

    def close(self) -> None:
        """Let go of everything that was read."""


@dataclass(frozen=True, kw_only=True)
class TensorSource:
    """Images as uint8, converted to float32 in [0, 1] batch by batch."""

    images: Tensor  # (N, C, H, W) uint8
    proxies: Tensor | None = None  # (N, K, H, W) uint8
    valid: Tensor | None = None  # (N, H, W) bool or integer, non-zero where the image holds data; None = everywhere
    scored: Tensor | None = None  # (N, H, W) the same for image scores; None = wherever there is data

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8 or len(self.images) == 0:
            shape, kind = tuple(self.images.shape), self.images.dtype
            raise ValueError(f"TensorSource.images is (N, C, H, W) uint8 with N ≥ 1, got {shape} {kind}")
        count, _, height, width = self.images.shape
        if self.proxies is not None:
            shape, kind = tuple(self.proxies.shape), self.proxies.dtype
            if len(shape) != 4 or (shape[0], *shape[2:]) != (count, height, width) or kind != torch.uint8:
                wanted = f"{(count, 'K', height, width)} uint8, as many and as large as the images"
                raise ValueError(f"TensorSource.proxies is {wanted}, got {shape} {kind}")
        for name, mask in (("valid", self.valid), ("scored", self.scored)):
            if mask is not None and mask.shape != (count, height, width):
                raise ValueError(f"TensorSource.{name} is {(count, height, width)}, got {tuple(mask.shape)}")

    @classmethod
    def from_arrays(
        cls, images: Bytes, proxies: Bytes | None = None, valid: Mask | None = None, scored: Mask | None = None
    ) -> "TensorSource":
        """Share the memory of numpy arrays if they are contiguous."""
        arrays = {"images": images, "proxies": proxies, "valid": valid, "scored": scored}
        return cls(**{n: torch.from_numpy(np.ascontiguousarray(a)) for n, a in arrays.items() if a is not None})

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return tuple(self.images.shape)

    def order(self, batch_size: int, seed: int) -> "Order":
        """Every epoch shuffled as a whole."""
        return Order(len(self), batch_size, seed)

    def prepare(self, order: "Order", step: int) -> None:
        """Nothing: all is in memory."""

    def close(self) -> None:
        """Nothing: the memory is the caller's."""

    def mirrored(self) -> "TensorSource":
        """The same images flipped left to right."""
        return TensorSource(**{name: value.flip(-1) for name, value in vars(self).items() if value is not None})

    def batch(self, rows: Tensor) -> Batch:
        """The images of those rows (int64), on the CPU."""
        image = self.images[rows].float() / 255
        proxy = None if self.proxies is None else self.proxies[rows].float() / 255
        valid = torch.ones_like(image[:, :1]) if self.valid is None else (self.valid[rows] != 0).float()[:, None]
        scored = None if self.scored is None else (self.scored[rows] != 0).float()[:, None]
        return Batch(image, proxy, valid, scored)


@dataclass(frozen=True)
class Order:
    """Rows of step t: shuffled epochs one after the other; a pure function of its fields and the step.

    Rows that are read in blocks are shuffled window by window: an epoch takes the blocks in a random order, as many
    as fit into a window, and shuffles their rows. One window of all blocks gives the order of data in memory.
    """

    count: int
    batch_size: int
    seed: int
    edges: tuple[int, ...] = ()  # first row of each block, then the count; empty: one block
    window: int = 0  # most rows of a window, but at least one block; 0 = all rows

    def rows(self, step: int) -> Tensor:
        """Rows (batch_size,) of step 0, 1, …; every row comes once before any comes again."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        shuffled = {epoch: _epoch(self, epoch)[0] for epoch in {place // self.count for place in places}}
        return torch.stack([shuffled[place // self.count][place % self.count] for place in places])

    def blocks(self, step: int) -> list[int]:
        """Blocks of the windows that the step's rows come from, in order of use; if it is one, then the next's too."""
        epoch, found, windows = step * self.batch_size // self.count, list[int](), 0
        while True:
            for stop, blocks in _epoch(self, epoch)[1]:
                if epoch * self.count + stop > step * self.batch_size:
                    found, windows = found + blocks, windows + 1
                    if windows > 1 and epoch * self.count + stop >= (step + 1) * self.batch_size:
                        return list(dict.fromkeys(found))
            epoch += 1

    def windows(self, epoch: int) -> list[list[int]]:
        """The blocks of each window of an epoch."""
        sizes = np.diff(self.edges or (0, self.count))
        if not 0 < self.window < self.count:
            return [list(range(len(sizes)))]
        windows, held = [list[int]()], 0
        for block in torch.randperm(len(sizes), generator=_generator(self.seed, epoch, 1)).tolist():
            if windows[-1] and held + sizes[block] > self.window:
                windows, held = [*windows, []], 0
            windows[-1].append(block)
            held += sizes[block]
        return windows


@lru_cache(maxsize=4)
def _epoch(order: Order, epoch: int) -> tuple[Tensor, list[tuple[int, list[int]]]]:
    """All rows of an epoch (count,) in order; its windows: the place after the last row of each, and its blocks."""
    draw, edges = _generator(order.seed, epoch), order.edges or (0, order.count)
    rows, stops, windows = list[Tensor](), 0, list[tuple[int, list[int]]]()
    for blocks in order.windows(epoch):
        own = torch.cat([torch.arange(edges[block], edges[block + 1]) for block in sorted(blocks)])
        rows.append(own[torch.randperm(len(own), generator=draw)])
        stops += len(own)
        windows.append((stops, blocks))
    return torch.cat(rows), windows


def _generator(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1)


def varied(batch: Batch, generator: torch.Generator, *, move: float, tone: float) -> Batch:
    """A copy in which every image is moved and toned by its own draw, image and proxy alike; 0 = no change."""
    batch = _moved(batch, generator, move) if move > 0 else batch
    return _toned(batch, generator, tone) if tone > 0 else batch


def _moved(batch: Batch, generator: torch.Generator, move: float) -> Batch:
    """Shift (share of a side), stretch of either axis and turn (radians), each uniform in ± `move`."""
    total, _, height, width = batch.image.shape
    shift, stretch, (turn,) = (move * _symmetric((n, total), generator) for n in (2, 2, 1))
    rows, cols = torch.exp(stretch)
    aspect = height / width
    along = torch.stack((cols * turn.cos(), -rows * turn.sin() * aspect, 2 * shift[0]), dim=-1)
    down = torch.stack((cols * turn.sin() / aspect, rows * turn.cos(), 2 * shift[1]), dim=-1)
    theta = torch.stack((along, down), dim=1).to(batch.image)
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

    return batch.changed(
        lambda value: (mean + (1 + gain) * (value - mean)).clamp(1e-4, 1).pow(power.exp()), lambda mask: mask
    )


def _symmetric(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform in [-1, 1]; the images are along the second axis."""
    return 2 * ranks.drawn(torch.rand, shape, generator, dim=1) - 1
