"""Several processes (ranks) that train one network together: each has an equal part of every batch.

A method sees its rank's part. Whatever depends on the whole batch goes through these functions, so that the losses
averaged over the ranks are those of one process: counts and statistics are averaged, random numbers are drawn for the
whole batch and cut, what mixes images is computed from all of them on every rank. Outside `together`, and in one
process, they return what they got.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:  # two seconds to import
    from lightning_fabric import Fabric

_rank, _count = 0, 1


@contextmanager
def together(fabric: "Fabric") -> Iterator[None]:
    """Training as one of the ranks of `fabric`; all of them call the functions below in the same order."""
    global _rank, _count
    _rank, _count = fabric.global_rank, fabric.world_size
    try:
        yield
    finally:
        _rank, _count = 0, 1


def count() -> int:
    """Number of ranks."""
    return _count


def mine(whole: Tensor, dim: int = 0) -> Tensor:
    """This rank's part of a tensor of the whole batch, cut along `dim`."""
    return whole if _count == 1 else whole.chunk(_count, dim)[_rank]


def everyone(part: Tensor) -> Tensor:
    """The tensor of the whole batch, in its order, from each rank's part (b, …); without gradients."""
    if _count == 1:
        return part
    sent = part.detach().contiguous()
    parts = [torch.empty_like(sent) for _ in range(_count)]
    distributed.all_gather(parts, sent)
    return torch.cat(parts)


def mean(value: Tensor) -> Tensor:
    """Mean over the ranks; gradients pass."""
    if _count == 1:
        return value
    total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return total / _count


def drawn(kind: Callable[..., Tensor], shape: tuple[int, ...], generator: torch.Generator, *, dim: int = 0) -> Tensor:
    """Random numbers of a rank's part of the batch, `kind` of `shape` with the images along `dim`."""
    whole = (*shape[:dim], shape[dim] * _count, *shape[dim + 1 :])
    return mine(kind(whole, generator=generator), dim)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Every rank's gradients become their mean, in one transfer; all have gradients of the same parameters."""
    slopes = [value.grad for value in parameters if value.grad is not None]
    if _count > 1 and slopes:
        whole = torch.cat([slope.reshape(-1) for slope in slopes])
        distributed.all_reduce(whole)
        parts = torch.split(whole / _count, [slope.numel() for slope in slopes])
        for slope, part in zip(slopes, parts, strict=True):
            slope.copy_(part.view_as(slope))


class _Sum(torch.autograd.Function):
    """Sum over the ranks; the gradient of a rank is the sum of all ranks' gradients."""

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        total = value.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, slope: Tensor) -> Tensor:
        summed: Tensor = _Sum.apply(slope)  # type: ignore[no-untyped-call]
        return summed


class BatchNorm(torch.nn.BatchNorm2d):
    """Batch norm with the statistics of all ranks' images; torch's own `SyncBatchNorm` refuses the CPU."""

    def forward(self, value: Tensor) -> Tensor:
        """(B, C, H, W), normalised channel by channel."""
        if _count == 1 or not self.training:
            return super().forward(value)
        with torch.autocast(device_type=value.device.type, enabled=False):
            own = value.float()
            middle = mean(own.mean(dim=(0, 2, 3)))
            centred = own - middle[:, None, None]
            spread = mean(centred.square().mean(dim=(0, 2, 3)))
            if self.track_running_stats:
                self._follow(middle, spread, _count * own.numel() // own.shape[1])
            scaled = centred * torch.rsqrt(spread + self.eps)[:, None, None]
            if self.affine:
                scaled = scaled * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled.to(value.dtype)

    @torch.no_grad()
    def _follow(self, middle: Tensor, spread: Tensor, values: int) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(middle, self.momentum)
        self.running_var.lerp_(spread * values / (values - 1), self.momentum)
