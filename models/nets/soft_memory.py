"""Soft memory of normal latents: each position becomes a sparse mixture of learned items (MemAE).

Gong et al., "Memorizing Normality to Detect Anomaly", ICCV 2019, Eq. 3-7; items are parameters, learned by gradient.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_TINY = 1e-12


@dataclass(frozen=True)
class Recall:
    """What the memory makes of a latent."""

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
        """Recall (B, D, h, w), in float32; the entropy counts positions where valid (B, 1, h, w) is above 0.

        The generator is ignored: nothing is drawn (the same call as for `models.nets.memory.Memory`).
        """
        del generator
        with torch.autocast(device_type=latent.device.type, enabled=False):
            vectors = latent.float().permute(0, 2, 3, 1)
            shares = shrunk(functional.linear(vectors, self.items).softmax(dim=-1), self.threshold)
            entropy = torch.special.entr(shares.clamp(min=_TINY)).sum(dim=-1)
            inside = torch.ones_like(entropy) if valid is None else (valid[:, 0] > 0).float()
            mixed = (shares @ self.items).permute(0, 3, 1, 2)
        return Recall(mixed, shares.permute(0, 3, 1, 2), (entropy * inside).sum() / inside.sum().clamp(min=1))


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
