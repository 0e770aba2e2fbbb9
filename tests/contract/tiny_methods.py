"""Every registered method at a small size, and data for it; a new method is tested by existing.

A configuration is made small by the names of its fields (`TINY`): one word means one thing in all methods.
"""

import dataclasses

import pytest
import torch
from torch.optim import Adam

from models.method import Batch, Method, MethodConfig, Phase, Stage
from models.methods import METHODS, build
from models.methods.proxyano_config import ProxyAnoConfig
from models.schedule import TrainConfig
from models.source import TensorSource

SIDE = 32
TINY: dict[str, object] = {
    "widths": (8, 12, 16),
    "discriminator_widths": (8, 8, 12, 12),
    "latent_dim": 8,
    "memory_items": 16,
    "size": (SIDE, SIDE),
    "width": 16,
    "widest": 32,
    "blocks": 2,
    "translator_widths": (8, 12, 16),
    "search_steps": 5,
}
RESUME = TrainConfig(steps=6, batch_size=3, weight_average=0.9, evaluate_every=3, checkpoint_every=3, log_every=1)

SHORT = dataclasses.replace(RESUME, steps=3)


def tiny(name: str, **changes: object) -> MethodConfig:
    """The method's configuration with every field small that `TINY` names, and changes for fields it has."""
    kind = METHODS[name].config_type
    known = {field.name for field in dataclasses.fields(kind)}
    return kind.from_json({field: value for field, value in (TINY | changes).items() if field in known})


VARIANTS: dict[str, tuple[str, MethodConfig]] = {name: (name, tiny(name)) for name in METHODS} | {
    "proxyano-rgb": ("proxyano", tiny("proxyano", channels=3)),
    "proxyano-makers": ("proxyano", tiny("proxyano", makers=("blob", "patch", "bump"))),
    "proxyano-image": (
        "proxyano",
        tiny(
            "proxyano",
            makers=("mass", "noise"),
            patch_on="image",
            reconstruction_skips=True,
            reconstruction_widths=(8, 12, 16, 16),
        ),
    ),
    "proxyano-bare": ("proxyano", tiny("proxyano", memory="none", lambda_global=0.0, lambda_local=0.0)),
    "proxyano-two_channel_proxy": ("proxyano", tiny("proxyano", proxy_channels=2)),
    "memae-nearest": ("memae", tiny("memae", memory="nearest")),
    "proxyano-plain": (
        "proxyano",
        ProxyAnoConfig(
            widths=(8, 12),
            adversarial=False,
            reconstruction_skips=True,
            contrast=2.0,
            invalid_fill=0.3,
        ),
    ),
}
PHASES = [
    pytest.param(variant, stage, phase, id=f"{variant}-{stage.name}-{phase.name}")
    for variant, (name, config) in VARIANTS.items()
    for stage in build(name, config, seed=0).stages
    for phase in stage.phases
]


def small(variant: str) -> Method:
    name, config = VARIANTS[variant]
    return build(name, config, seed=0)


def images(method: Method, count: int = 6, size: tuple[int, int] = (SIDE, SIDE)) -> TensorSource:
    """Blocks, alike in all images but for a third, with noise on them; their proxies are the blocks.

    The first half has no data in its first five rows.
    """
    draw = torch.Generator().manual_seed(2)
    shape = (method.config.channels, size[0] // 4, size[1] // 4)
    common = torch.randint(0, 151, (1, *shape), generator=draw)
    blocks = common + torch.randint(0, 76, (count, *shape), generator=draw)
    proxies = blocks.repeat_interleave(4, 2).repeat_interleave(4, 3)
    noise = torch.randint(0, 30, proxies.shape, generator=draw)
    valid = torch.ones(count, *size, dtype=torch.uint8)
    valid[: count // 2, :5] = 0
    own = proxies.expand(-1, proxy_channels(method), -1, -1) if proxy_channels(method) > 1 else proxies
    return TensorSource(images=(proxies + noise).byte(), proxies=own.byte(), valid=valid)


def proxy_channels(method: Method) -> int:
    config = method.config
    return config.of_proxy if isinstance(config, ProxyAnoConfig) else config.channels


def batch_of(method: Method) -> Batch:
    source = images(method)
    return source.batch(torch.arange(len(source)))


def score_source(method: Method, source: TensorSource) -> TensorSource:
    """What a method may see when it scores: true proxies only if it says that it needs them."""
    return source if method.needs_proxy else dataclasses.replace(source, proxies=None)


def trained(variant: str, count: int) -> Method:
    method = small(variant)
    for stage in method.stages:
        steps(method, stage, stage.phases, count)
    return method.eval()


def kept(method: Method) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def steps(method: Method, stage: Stage, phases: tuple[Phase, ...], count: int) -> None:
    """Train phases in turn on one batch, as the trainer would, but faster."""
    batch, draw = batch_of(method), generator()
    optimisers = {phase.name: optimiser(method, phase) for phase in phases}
    for step in range(count):
        for phase in phases:
            if step % phase.every == 0:
                method.activate(phase)
                optimisers[phase.name].zero_grad()
                torch.stack(list(method.losses(stage.name, phase.name, batch, draw).values())).sum().backward()
                optimisers[phase.name].step()


def optimiser(method: Method, phase: Phase) -> Adam:
    parameters = [value for module in phase.modules for value in method.get_submodule(module).parameters()]
    return Adam(parameters, lr=2e-3, betas=phase.betas)
