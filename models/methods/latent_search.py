"""The latent vectors whose images come nearest to given ones, by gradient descent on the vectors (AnoGAN).

Every image searches by itself: losses are summed over the batch, Adam works value by value, and all start from the
same vector, so that an image's result does not depend on its neighbours or its place.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Adam

Objective = Callable[[Tensor], Tensor]  # vectors (B, D) → losses (B,), each from its own vector only


def latent_search(
    objective: Objective, start: Tensor, count: int, *, steps: int, rate: float, betas: tuple[float, float]
) -> Tensor:
    """Vectors (count, D) after `steps` of Adam from `start` (D,), kept in [−1, 1], where the prior lives."""
    vectors = start.expand(count, -1).clone()
    optimiser = Adam([vectors], lr=rate, betas=betas)
    for _ in range(steps):
        with torch.enable_grad():
            vectors.requires_grad_(True)
            (vectors.grad,) = torch.autograd.grad(objective(vectors).sum(), [vectors])
        vectors.requires_grad_(False)
        optimiser.step()
        vectors.clamp_(-1, 1)
    return vectors
