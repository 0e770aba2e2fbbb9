"""Batch norms of a frozen network that take the statistics of the current batch."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def batch_statistics(*networks: nn.Module) -> Iterator[None]:
    """Training mode for the networks, with batch norms that neither read nor write their running statistics.

    For GANs, which pass gradients through a network that another phase trains: its running statistics lag behind.
    """
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
