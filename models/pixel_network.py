"""Small fully connected networks that classify single pixels (n) by their features (F), as altered or not."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

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
AT_ONCE = 4096
"""Pixels that are classified at once: few enough for the cache."""
RATE = 2e-3
"""Highest learning rate of the one-cycle schedule."""
DECAY = 1e-3
"""Weight decay of AdamW."""
FARTHEST = 8.0
"""Clip features at this many standard deviations so that unseen extremes cannot dominate."""


@dataclass(frozen=True)
class PixelNetwork:
    """Log-odds of a pixel, averaged over networks on standardised features."""

    mean: Array  # (F,)
    sd: Array  # (F,)
    weights: Array  # (networks, parameters)

    @classmethod
    def fit(cls, samples: Array, altered: NDArray[np.bool_], *, seed: int, count: int = COUNT) -> "PixelNetwork":
        """Fit ``count`` networks to ``samples`` (n, F); ``ValueError`` if all or none are ``altered`` (n,)."""
        if altered.all() or not altered.any():
            raise ValueError(f"PixelNetwork: expected altered and other pixels, got {altered.sum()} of {len(altered)}")
        warn_if_not_reproducible()
        mean, sd = samples.mean(axis=0), samples.std(axis=0) + np.float32(1e-6)
        inputs, truth = _standardised(samples, mean, sd), torch.from_numpy(altered.astype(np.float32))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            trained = [parameters_to_vector(_trained(inputs, truth).parameters()).detach() for _ in range(count)]
        return cls(mean, sd, torch.stack(trained).numpy())

    @cached_property
    def _networks(self) -> list[nn.Sequential]:
        networks = [_network(len(self.mean)).eval() for _ in self.weights]
        for network, weights in zip(networks, self.weights, strict=True):
            vector_to_parameters(torch.from_numpy(weights), network.parameters())
        return networks

    @torch.no_grad()
    def log_odds(self, samples: Array) -> Array:
        """Log-odds (n,) of pixels with features ``samples`` (n, F)."""
        found = np.empty(len(samples), np.float32)
        for start in range(0, len(samples), AT_ONCE):
            inputs = _standardised(samples[start : start + AT_ONCE], self.mean, self.sd)
            odds = torch.stack([network(inputs)[:, 0] for network in self._networks])
            found[start : start + AT_ONCE] = odds.mean(dim=0)
        return found


def _standardised(samples: Array, mean: Array, sd: Array) -> Tensor:
    scaled = np.clip((samples - mean) / sd, -FARTHEST, FARTHEST)
    return torch.from_numpy(np.ascontiguousarray(scaled, np.float32))


def _network(features: int) -> nn.Sequential:
    hidden = [layer for sizes in pairwise((features, *WIDTHS)) for layer in (nn.Linear(*sizes), nn.GELU())]
    return nn.Sequential(*hidden, nn.Linear(WIDTHS[-1], 1))


def _trained(inputs: Tensor, truth: Tensor) -> nn.Sequential:
    network = _network(inputs.shape[1])
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
