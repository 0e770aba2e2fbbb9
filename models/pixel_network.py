"""Small fully connected networks that say of single pixels, by their features, whether they were altered.

Legend: n pixels, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.arithmetic import warn_if_not_reproducible
from models.scoring import Array

LEAST_STEPS = 20
"""Steps of a pass, where there are so many pixels: few pixels in large batches would hardly be learned from."""

FARTHEST = 8.0
"""Features are cut off at so many sd: a value that training never showed shall not rule."""


@dataclass(frozen=True, kw_only=True)
class PixelNetworkConfig:
    """How the networks are built and trained."""

    widths: tuple[int, ...] = (96, 96)
    count: int = 3  # networks whose log-odds are averaged; they differ in weights drawn and order of pixels
    passes: int = 8  # over the drawn pixels
    batch_size: int = 2048  # at most: a pass has LEAST_STEPS or more
    rate: float = 2e-3  # highest learning rate of the one-cycle schedule
    decay: float = 1e-3  # weight decay of AdamW

    def __post_init__(self) -> None:
        if min(self.count, self.passes, self.batch_size, *self.widths) < 1 or self.rate <= 0 or self.decay < 0:
            raise ValueError(f"PixelNetworkConfig needs counts and widths ≥ 1, rate > 0 and decay ≥ 0, got {self}")


class PixelNetwork:
    """Log-odds of a pixel, averaged over networks on standardised features."""

    def __init__(self, samples: Array, altered: NDArray[np.bool_], config: PixelNetworkConfig, *, seed: int) -> None:
        """Fit to ``samples`` (n, F) and whether each was ``altered`` (n,); ``ValueError`` without both kinds."""
        if altered.all() or not altered.any():
            raise ValueError(f"PixelNetwork: expected altered and other pixels, got {altered.sum()} of {len(altered)}")
        warn_if_not_reproducible()
        self.mean, self.sd = samples.mean(axis=0), samples.std(axis=0) + 1e-6
        inputs, truth = self._standardised(samples), torch.from_numpy(altered.astype(np.float32))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.networks = [_trained(inputs, truth, config) for _ in range(config.count)]

    @torch.no_grad()
    def log_odds(self, samples: Array) -> Array:
        """Log-odds (n,) of pixels with features ``samples`` (n, F)."""
        inputs = self._standardised(samples)
        found: Array = torch.stack([network(inputs)[:, 0] for network in self.networks]).mean(dim=0).numpy()
        return found

    def _standardised(self, samples: Array) -> Tensor:
        scaled = np.clip((samples - self.mean) / self.sd, -FARTHEST, FARTHEST)
        return torch.from_numpy(np.ascontiguousarray(scaled, np.float32))


def _trained(inputs: Tensor, truth: Tensor, config: PixelNetworkConfig) -> nn.Sequential:
    network = _network(inputs.shape[1], config.widths)
    batch_size = max(1, min(config.batch_size, len(inputs) // LEAST_STEPS))
    batches = len(inputs) // batch_size
    optimizer = torch.optim.AdamW(network.parameters(), config.rate, weight_decay=config.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.rate, total_steps=config.passes * batches)
    for _ in range(config.passes):
        for chosen in torch.randperm(len(inputs))[: batches * batch_size].reshape(batches, batch_size):
            loss = F.binary_cross_entropy_with_logits(network(inputs[chosen])[:, 0], truth[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return network.eval()


def _network(features: int, widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, width in zip([features, *widths], widths, strict=False):
        layers += [nn.Linear(before, width), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1] if widths else features, 1))
