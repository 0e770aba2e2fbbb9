"""Small fully connected networks that classify single pixels (n) by their features (F), as altered or not."""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.arithmetic import warn_if_not_reproducible
from models.scoring import Array

WIDTHS = (96, 96)
"""Widths of the hidden layers."""
COUNT = 3
"""Networks whose log-odds are averaged; they differ in their first weights and the order of pixels."""
PASSES = 8
"""Passes over the pixels."""
BATCH_SIZE = 2048
"""Largest batch; it shrinks until a pass has ``LEAST_STEPS`` steps."""
LEAST_STEPS = 20
RATE = 2e-3
"""Highest learning rate of the one-cycle schedule."""
DECAY = 1e-3
"""Weight decay of AdamW."""
FARTHEST = 8.0
"""Clip features at this many standard deviations so that unseen extremes cannot dominate."""


class PixelNetwork:
    """Log-odds of a pixel, averaged over networks on standardised features."""

    def __init__(self, samples: Array, altered: NDArray[np.bool_], *, seed: int, count: int | None = None) -> None:
        """Fit ``count`` networks (default: ``COUNT``) to ``samples`` (n, F); ValueError if all or none ``altered``."""
        if altered.all() or not altered.any():
            raise ValueError(f"PixelNetwork: expected altered and other pixels, got {altered.sum()} of {len(altered)}")
        warn_if_not_reproducible()
        self.mean, self.sd = samples.mean(axis=0), samples.std(axis=0) + 1e-6
        inputs, truth = self._standardised(samples), torch.from_numpy(altered.astype(np.float32))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.networks = [_trained(inputs, truth) for _ in range(count or COUNT)]

    @torch.no_grad()
    def log_odds(self, samples: Array) -> Array:
        """Log-odds (n,) of pixels with features ``samples`` (n, F)."""
        inputs = self._standardised(samples)
        return np.asarray(torch.stack([network(inputs)[:, 0] for network in self.networks]).mean(dim=0))

    def _standardised(self, samples: Array) -> Tensor:
        scaled = np.clip((samples - self.mean) / self.sd, -FARTHEST, FARTHEST)
        return torch.from_numpy(np.ascontiguousarray(scaled, np.float32))


def _trained(inputs: Tensor, truth: Tensor) -> nn.Sequential:
    hidden = [layer for sizes in pairwise((inputs.shape[1], *WIDTHS)) for layer in (nn.Linear(*sizes), nn.GELU())]
    network = nn.Sequential(*hidden, nn.Linear(WIDTHS[-1], 1))
    batch_size = max(1, min(BATCH_SIZE, len(inputs) // LEAST_STEPS))
    batches = len(inputs) // batch_size
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=PASSES * batches)
    for _ in range(PASSES):
        for chosen in torch.randperm(len(inputs))[: batches * batch_size].reshape(batches, batch_size):
            loss = F.binary_cross_entropy_with_logits(network(inputs[chosen])[:, 0], truth[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return network.eval()
