"""Run a frozen network with the batch norm of the current batch, without changing its running statistics.

GANs pass gradients through a network that another phase trains. In eval mode its running statistics lag behind, so it
would behave differently than in its own training.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def batch_statistics(*networks: nn.Module) -> Iterator[None]:
    """Training mode for the networks, with batch norms that neither read nor write their running statistics."""
    modules = [module for network in networks for module in network.modules()]
    modes = [module.training for module in modules]
    norms = [module for module in modules if isinstance(module, _BatchNorm) and module.track_running_stats]
    for network in networks:
        network.train()
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
