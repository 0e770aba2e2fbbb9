"""Memory of normal latents: each position takes its nearest item; items follow by exponential moving averages.

Eq. 2 and Eq. 6 of the paper; k items of D values, always float32, also under autocast.
The gradient passes straight through; items that fall out of use are redrawn from latents of the current batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Lookup:
    """What the memory makes of a latent."""

    latent: Tensor  # (B, D, h, w): items in place of latents; the gradient passes to the input unchanged
    commitment: Tensor  # (): mean squared distance of the latents to their items, gradient to the latents only
    index: Tensor  # (B, h, w): the item of each position


class Memory(nn.Module):
    """k items; `counts` is N and `sums` is e of Eq. 6, `items` is m = e/N; all are buffers, saved with the weights."""

    items: Tensor
    counts: Tensor
    sums: Tensor
    ready: Tensor

    def __init__(self, items: int, dim: int, *, decay: float = 0.99, revive_below: float = 0.1) -> None:
        super().__init__()
        self.decay = decay  # γ of Eq. 6, [0, 1)
        self.revive_below = revive_below  # an item below this share of the mean count is dead; 0 = never revive
        self.register_buffer("items", torch.zeros(items, dim))
        self.register_buffer("counts", torch.ones(items))
        self.register_buffer("sums", torch.zeros(items, dim))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))  # items drawn from a first batch?

    def forward(
        self, latent: Tensor, *, generator: torch.Generator | None = None, valid: Tensor | None = None
    ) -> Lookup:
        """Look up (B, D, h, w); while training also update the items, from positions where valid (B, 1, h, w) holds.

        A generator is needed while training: for the first items and for revived ones.
        """
        with torch.autocast(device_type=latent.device.type, enabled=False):
            batch, dim, height, width = latent.shape
            vectors = latent.float().permute(0, 2, 3, 1).reshape(-1, dim)
            inside = None if valid is None else valid.reshape(-1) > 0
            if self.training and not bool(self.ready):
                self._start(_kept(vectors.detach(), inside), generator)
            index = self.nearest(vectors.detach())
            found = functional.embedding(index, self.items)
            distance = (vectors - found).square().mean(dim=1)
            commitment = distance.mean() if inside is None else (distance * inside).sum() / inside.sum().clamp(min=1)
            passed = vectors + (found - vectors).detach()
            if self.training:
                self._update(_kept(vectors.detach(), inside), _kept(index, inside), generator)
            replaced = passed.reshape(batch, height, width, dim).permute(0, 3, 1, 2)
        return Lookup(replaced, commitment, index.reshape(batch, height, width))

    def nearest(self, vectors: Tensor) -> Tensor:
        """Index of the nearest item in L2 for each of (n, D) vectors (Eq. 2)."""
        return torch.addmm(self.items.square().sum(dim=1), vectors, self.items.t(), alpha=-2.0).argmin(dim=1)

    def perplexity(self) -> float:
        """Exponential of the entropy of the items' moving counts: how many items are in use, 1 to k."""
        share = self.counts / self.counts.sum().clamp(min=1e-12)
        return float(torch.special.entr(share).sum().exp())

    def _start(self, vectors: Tensor, generator: torch.Generator | None) -> None:
        self.items.copy_(_draw(vectors, len(self.items), generator))
        self.counts.fill_(len(vectors) / len(self.items))
        self.sums.copy_(self.items * self.counts[:, None])
        self.ready.fill_(True)

    def _update(self, vectors: Tensor, index: Tensor, generator: torch.Generator | None) -> None:
        chosen = functional.one_hot(index, len(self.items)).to(vectors.dtype)
        self.counts.mul_(self.decay).add_(chosen.sum(dim=0), alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(chosen.t() @ vectors, alpha=1 - self.decay)
        self.items.copy_(self.sums / self.counts.clamp(min=1e-12)[:, None])
        if self.revive_below > 0:
            self._revive(vectors, generator)

    def _revive(self, vectors: Tensor, generator: torch.Generator | None) -> None:
        mean = self.counts.mean()
        dead = torch.nonzero(self.counts < self.revive_below * mean).flatten()
        if len(dead) == 0:
            return
        fresh = _draw(vectors, len(dead), generator)
        start = 2 * self.revive_below * mean  # unused, it is dead again after ln 2 / (1 − γ) batches
        self.items[dead] = fresh
        self.counts[dead] = start
        self.sums[dead] = fresh * start


def _kept(values: Tensor, inside: Tensor | None) -> Tensor:
    return values if inside is None else values[inside]


def _draw(vectors: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        raise ValueError("Memory draws items from the batch while training: pass a torch.Generator")
    if len(vectors) == 0:
        raise ValueError("Memory cannot draw items: the batch has no valid latent position")
    if len(vectors) >= count:
        rows = torch.randperm(len(vectors), generator=generator)[:count]
    else:
        rows = torch.randint(len(vectors), (count,), generator=generator)
    return vectors[rows.to(vectors.device)]
