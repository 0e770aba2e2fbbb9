"""Memories of normal latents, always float32, also under autocast: ProxyAno's nearest item, MemAE's sparse mixtures.

ProxyAno's k items of D values follow by moving averages (Eq. 2 and 6 of the paper) and are redrawn from the current
batch if they fall out of use; gradients pass straight through. MemAE's N items are parameters (Gong et al.,
"Memorizing Normality to Detect Anomaly", ICCV 2019, Eq. 3-7).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import ranks

_TINY = 1e-12


@dataclass(frozen=True)
class Lookup:
    """What `Memory` makes of a latent."""

    latent: Tensor  # (B, D, h, w): items in place of latents; the gradient passes to the input unchanged
    commitment: Tensor  # (): mean squared distance of the latents to their items, gradient to the latents only
    index: Tensor  # (B, h, w): the item of each position


class Memory(nn.Module):
    """k items; `counts` is N and `sums` is e of Eq. 6, `items` is m = e/N; all are buffers, saved with the weights."""

    items: Tensor
    counts: Tensor
    sums: Tensor
    ready: Tensor

    def __init__(self, items: int, dim: int, *, decay: float = 0.99, revive_below: float = 0.3) -> None:
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
        """Look up (B, D, h, w); training updates the items from valid (B, 1, h, w) positions, and draws some."""
        with torch.autocast(device_type=latent.device.type, enabled=False):
            batch, dim, height, width = latent.shape
            vectors = latent.float().permute(0, 2, 3, 1).reshape(-1, dim)
            inside = None if valid is None else valid.reshape(-1) > 0
            if self.training:
                seen, where = ranks.everyone(vectors.detach()), None if inside is None else ranks.everyone(inside)
                if not self.ready:
                    self._start(_kept(seen, where), generator)
            index = self.nearest(vectors.detach())
            found = functional.embedding(index, self.items)
            distance = (vectors - found).square().mean(dim=1)
            commitment = distance.mean() if inside is None else (distance * inside).sum() / _everywhere(inside)
            passed = vectors + (found - vectors).detach()
            if self.training:
                self._update(_kept(seen, where), _kept(ranks.everyone(index), where), generator)
            replaced = passed.reshape(batch, height, width, dim).permute(0, 3, 1, 2)
        return Lookup(replaced, commitment, index.reshape(batch, height, width))

    def nearest(self, vectors: Tensor) -> Tensor:
        """Index of the nearest item in L2 for each of (n, D) vectors (Eq. 2)."""
        return torch.addmm(self.items.square().sum(dim=1), vectors, self.items.t(), alpha=-2.0).argmin(dim=1)

    def perplexity(self) -> float:
        """Exponential of the entropy of the items' moving counts: how many items are in use, 1 to k."""
        return float(torch.special.entr(self.counts / self.counts.sum().clamp(min=_TINY)).sum().exp())

    def _start(self, vectors: Tensor, generator: torch.Generator | None) -> None:
        self.items.copy_(_draw(vectors, len(self.items), generator))
        self.counts.fill_(len(vectors) / len(self.items))
        self.sums.copy_(self.items * self.counts[:, None])
        self.ready.fill_(True)

    def _update(self, vectors: Tensor, index: Tensor, generator: torch.Generator | None) -> None:
        chosen = functional.one_hot(index, len(self.items)).to(vectors.dtype)
        self.counts.mul_(self.decay).add_(chosen.sum(dim=0), alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(chosen.t() @ vectors, alpha=1 - self.decay)
        self.items.copy_(self.sums / self.counts.clamp(min=_TINY)[:, None])
        if self.revive_below > 0:
            self._revive(vectors, generator)

    def _revive(self, vectors: Tensor, generator: torch.Generator | None) -> None:
        mean = self.counts.mean()
        dead = torch.nonzero(self.counts < self.revive_below * mean).flatten()
        if len(dead):
            fresh = _draw(vectors, len(dead), generator)
            start = 2 * self.revive_below * mean  # unused, it is dead again after ln 2 / (1 − γ) batches
            self.items[dead], self.counts[dead], self.sums[dead] = fresh, start, fresh * start


def _everywhere(inside: Tensor) -> Tensor:
    """Number of valid positions, at least 1: the mean over the ranks."""
    return ranks.mean(inside.sum()).clamp(min=1)


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


@dataclass(frozen=True)
class Recall:
    """What `SoftMemory` makes of a latent."""

    latent: Tensor  # (B, D, h, w): mixtures of items in place of latents
    weights: Tensor  # (B, N, h, w): shares of the items, ≥ 0, sum 1 at each position
    entropy: Tensor  # (): mean entropy of the shares over positions, in nats


class SoftMemory(nn.Module):
    """N items of D values; `shrink` is the threshold λ on the shares, in units of 1/N (0 = none)."""

    def __init__(self, items: int, dim: int, *, shrink: float) -> None:
        super().__init__()
        self.threshold = shrink / items
        self.items = nn.Parameter(torch.empty(items, dim).uniform_(-(dim**-0.5), dim**-0.5))

    def forward(
        self, latent: Tensor, *, generator: torch.Generator | None = None, valid: Tensor | None = None
    ) -> Recall:
        """Recall (B, D, h, w); the entropy counts valid (B, 1, h, w) positions. The generator is ignored."""
        with torch.autocast(device_type=latent.device.type, enabled=False):
            vectors = latent.float().permute(0, 2, 3, 1)
            shares = shrunk(functional.linear(vectors, self.items).softmax(dim=-1), self.threshold)
            entropy = torch.special.entr(shares.clamp(min=_TINY)).sum(dim=-1)
            inside = torch.ones_like(entropy) if valid is None else (valid[:, 0] > 0).float()
            mixed = (shares @ self.items).permute(0, 3, 1, 2)
        return Recall(mixed, shares.permute(0, 3, 1, 2), (entropy * inside).sum() / _everywhere(inside))


def shrunk(shares: Tensor, threshold: float) -> Tensor:
    """Shares (…, N) with those up to the threshold set to 0 and the rest scaled to sum 1 (Eq. 6-7).

    Where none is above the threshold, the shares stay as they are: a row of zeros would be no latent at all.
    """
    if threshold <= 0:
        return shares
    above = shares - threshold
    kept = above.relu() * shares / (above.abs() + _TINY)
    total = kept.sum(dim=-1, keepdim=True)
    return torch.where(total > threshold / 2, kept / total.clamp(min=_TINY), shares)
