"""Statistics of batch norms: those of the current batch for a frozen network, and running ones recomputed."""

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


@contextmanager
def recomputed_statistics(*networks: nn.Module) -> Iterator[None]:
    """In eval mode, batch norms collect running statistics anew, as means; those that no batch reaches keep theirs."""
    for network in networks:
        network.eval()
    modules = dict.fromkeys(module for network in networks for module in network.modules())
    norms = [module for module in modules if isinstance(module, _BatchNorm) and module.track_running_stats]
    held = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative mean
        norm.train()
    try:
        yield
    finally:
        for norm, buffers, momentum in zip(norms, held, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
            if not norm.num_batches_tracked:
                norm.load_state_dict(buffers, strict=False)
