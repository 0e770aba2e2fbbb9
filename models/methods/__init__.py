"""The methods there are, by name."""

import torch

from models.method import Method, MethodConfig
from models.methods.proxyano import ProxyAno

METHODS: dict[str, type[Method]] = {ProxyAno.name: ProxyAno}


def build(name: str, config: MethodConfig, *, seed: int) -> Method:
    """A new method with weights drawn from the seed; the global generator is left as it was."""
    if name not in METHODS:
        raise ValueError(f"no method {name!r}; there are {', '.join(sorted(METHODS))}")
    kind = METHODS[name]
    if not isinstance(config, kind.config_type):
        raise ValueError(f"{name} takes a {kind.config_type.__name__}, got a {type(config).__name__}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(config)
