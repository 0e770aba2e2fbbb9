"""The runs of the benchmark: every method with one budget of optimiser steps, on the canvases of a lane.

A step is one batch, on which each phase of the method is updated once (f-AnoGAN's generator every fifth step, as in
its paper). A method with several stages divides the budget between them. The reconstruction methods have ProxyAno's
encoder and decoder at the lane's sizes, and its one-cycle learning rate; adversarial methods have the constant rate of
their papers, in full precision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from models.method import MethodConfig
from models.methods import METHODS
from models.methods.proxyano_config import ProxyAnoConfig
from models.schedule import TrainConfig
from pipeline.experiments.lane import Baseline, Canvases, plan


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What all methods of a benchmark share."""

    steps: int  # of a method, over its stages
    batch_size: int
    one_cycle: Mapping[str, object]  # rate, schedule and precision of the methods that share ProxyAno's networks

    def stages(self, method: str) -> dict[str, TrainConfig]:
        """The budget divided over the stages of a method; the last stage takes the remainder."""
        kind = METHODS[method]
        names = [stage.name for stage in kind.stages]
        share, rest = divmod(self.steps, len(names))
        common = self.one_cycle if kind.paper_rate is None else {"learning_rate": kind.paper_rate}
        every = max(1, min(100, share // 4))
        common = {**common, "batch_size": self.batch_size, "evaluate_every": every, "checkpoint_every": every}
        steps = {name: share + (rest if name == names[-1] else 0) for name in names}
        return {name: TrainConfig(steps=steps[name], **common) for name in names}  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the networks of all methods."""

    own: ProxyAnoConfig
    width: int  # channels next to the image of AnoGAN, f-AnoGAN and GANomaly
    widest: int
    translator_widths: tuple[int, ...]  # Cycle-GAN's generators
    blocks: int
    discriminator_widths: tuple[int, ...]  # PatchGANs
    search_steps: int  # AnoGAN

    def model(self, method: str) -> MethodConfig:
        """Configuration of a method: the sizes that it has fields for. Training sets what the tiles decide."""
        kind = METHODS[method].config_type
        if kind is ProxyAnoConfig:
            return self.own
        sizes = {**vars(self), "widths": self.own.widths, "latent_dim": self.own.latent_dim}
        return kind(**{field.name: sizes[field.name] for field in fields(kind) if field.name in sizes})


ONE_CYCLE: Mapping[str, object] = {"learning_rate": 2e-3, "schedule": "one_cycle", "precision": "bf16-mixed"}
SAMPLE_BUDGET = Budget(steps=20, batch_size=8, one_cycle=ONE_CYCLE)
QUICK_BUDGET = Budget(steps=1200, batch_size=16, one_cycle=ONE_CYCLE)
LONG_BUDGET = replace(QUICK_BUDGET, steps=2 * QUICK_BUDGET.steps)  # a claim that fails in 1,200 steps may hold later
PAPER_BUDGET = Budget(steps=40000, batch_size=16, one_cycle={"learning_rate": 1e-3})

SAMPLE_SIZES = Sizes(
    own=ProxyAnoConfig(widths=(8, 16, 16), latent_dim=16, memory_items=32, discriminator_widths=(8, 16)),
    width=8,
    widest=16,
    translator_widths=(8, 12, 16),
    blocks=2,
    discriminator_widths=(8, 12, 16, 16),
    search_steps=5,
)
SAMPLE_RUNS = (SAMPLE_BUDGET, SAMPLE_SIZES)
QUICK_SIZES = Sizes(
    own=ProxyAnoConfig(widths=(24, 48, 64), adversarial=False),  # latent at a quarter of the side
    width=16,
    widest=64,
    translator_widths=(16, 24, 32),
    blocks=3,
    discriminator_widths=(16, 32, 48, 64),
    search_steps=40,
)
QUICK_SLIM = replace(QUICK_SIZES, own=ProxyAnoConfig(widths=(16, 32, 64), adversarial=False))  # twice as fast
QUICK_DEEP = replace(  # latent at a sixteenth of the side: lesions find less room
    QUICK_SIZES, own=ProxyAnoConfig(widths=(24, 48, 64, 64, 64), adversarial=False)
)
PAPER_SIZES = Sizes(
    own=ProxyAnoConfig(),
    width=64,
    widest=512,
    translator_widths=(64, 128, 256),
    blocks=9,
    discriminator_widths=(64, 128, 256, 512),
    search_steps=500,
)


def benchmark(canvases: Canvases, budget: Budget, sizes: Sizes, *, seeds: Sequence[int] = (0,)) -> dict[str, Baseline]:
    """Every method on the canvases, seed by seed; names hold later seeds."""
    rows = {}
    for seed in seeds:
        for method, kind in METHODS.items():
            training = plan(method, canvases, sizes.model(method), budget.stages(method))
            name = f"{method}-seed{seed}" if seed else method
            rows[name] = Baseline(label=kind.label, training=training, seed=seed)
    return rows
