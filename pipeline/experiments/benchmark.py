"""The runs of the benchmark: every method with one budget of optimiser steps, on the canvases of a lane.

A step is one batch, on which each phase of the method is updated once (f-AnoGAN's generator every fifth step, as its
paper has it). A method of several stages shares the budget between them. Sizes are scaled to the lane's: the
reconstruction methods have ProxyAno's own encoder and decoder. Learning rates: those that share ProxyAno's networks
share its one-cycle rate; adversarial methods have the constant rate of their papers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from models.method import MethodConfig
from models.methods import METHODS
from models.methods.anogan import AnoGANConfig
from models.methods.auto_encoder import AutoEncoderConfig
from models.methods.cycle_gan import CycleGANConfig
from models.methods.denoising import DenoisingConfig
from models.methods.f_anogan import FAnoGANConfig
from models.methods.ganomaly import GANomalyConfig
from models.methods.memae import MemAEConfig
from models.methods.pix2pix import Pix2PixConfig
from models.methods.proxyano_config import ProxyAnoConfig
from models.methods.segmentation import SegmentationConfig
from models.methods.sparse_gan import SparseGANConfig
from models.methods.vae import VAEConfig
from models.schedule import TrainConfig
from pipeline.errors import ConfigError
from pipeline.experiments.lane import Baseline
from pipeline.training import CanvasTraining, TrainingPlan

LABELS: Mapping[str, str] = {
    "proxyano": "ProxyAno",
    "auto_encoder": "Auto-Encoder",
    "memae": "MemAE",
    "anogan": "AnoGAN",
    "f_anogan": "f-AnoGAN",
    "ganomaly": "GANomaly",
    "sparse_gan": "Sparse-GAN",
    "pix2pix": "pix2pix",
    "cycle_gan": "Cycle-GAN",
    "vae": "VAE",
    "denoising": "Denoising auto-encoder",
    "segmentation": "Segmentation of synthetic anomalies",
}
"""Every method for people, the paper's first."""

STAGES: Mapping[str, tuple[str, ...]] = {
    "proxyano": ("stage1", "stage2"),
    "f_anogan": ("stage1", "stage2"),
}
"""Stages of the methods that have more than one."""
OF_PAPER: Mapping[str, float] = {
    "anogan": 2e-4,
    "f_anogan": 1e-4,
    "ganomaly": 2e-4,
    "sparse_gan": 2e-4,
    "pix2pix": 2e-4,
    "cycle_gan": 2e-4,
}
"""Constant learning rates of the adversarial methods, in full precision."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What all methods of a benchmark share."""

    steps: int  # of a method, over its stages
    batch_size: int
    one_cycle: Mapping[str, object]  # rate, schedule and precision of the methods that share ProxyAno's networks

    def stages(self, method: str) -> dict[str, TrainConfig]:
        """The budget laid out over the stages of a method."""
        names = STAGES.get(method, ("stage1",))
        share, rest = divmod(self.steps, len(names))
        common = {"learning_rate": OF_PAPER[method]} if method in OF_PAPER else self.one_cycle
        every = max(1, min(100, share // 4))
        rows = [
            TrainConfig(
                steps=share + (rest if name == names[-1] else 0),  # the last stage has what does not divide
                batch_size=self.batch_size,
                evaluate_every=every,
                checkpoint_every=every,
                **common,  # type: ignore[arg-type]
            )
            for name in names
        ]
        return dict(zip(names, rows, strict=True))


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the networks of all methods are."""

    own: ProxyAnoConfig
    width: int  # channels next to the image of AnoGAN, f-AnoGAN and GANomaly
    widest: int
    translator: tuple[int, ...]  # Cycle-GAN's generators
    blocks: int
    judge: tuple[int, ...]  # PatchGANs
    search_steps: int  # AnoGAN

    def model(self, method: str) -> MethodConfig:
        """Configuration of one method; what the tiles decide (size, value without data) is filled in by training."""
        own, narrow = self.own, {"width": self.width, "widest": self.widest, "latent_dim": self.own.latent_dim}
        shared = {"widths": own.widths, "latent_dim": own.latent_dim}
        rows: dict[str, MethodConfig] = {
            "proxyano": own,
            "auto_encoder": AutoEncoderConfig(**shared),  # type: ignore[arg-type]
            "memae": MemAEConfig(**shared),  # type: ignore[arg-type]
            "vae": VAEConfig(**shared),  # type: ignore[arg-type]
            "denoising": DenoisingConfig(**shared),  # type: ignore[arg-type]
            "segmentation": SegmentationConfig(widths=own.widths),
            "sparse_gan": SparseGANConfig(**shared, discriminator_widths=self.judge),  # type: ignore[arg-type]
            "anogan": AnoGANConfig(**narrow, search_steps=self.search_steps),  # type: ignore[arg-type]
            "f_anogan": FAnoGANConfig(**narrow),  # type: ignore[arg-type]
            "ganomaly": GANomalyConfig(**narrow),  # type: ignore[arg-type]
            "pix2pix": Pix2PixConfig(widths=own.widths, discriminator_widths=self.judge),
            "cycle_gan": CycleGANConfig(widths=self.translator, blocks=self.blocks, discriminator_widths=self.judge),
        }
        return rows[method]


SEEDS = (0, 1, 2)  # of rows that a statement of the reports rests on
ONE_CYCLE: Mapping[str, object] = {"learning_rate": 2e-3, "schedule": "one_cycle", "precision": "bf16-mixed"}
SAMPLE_BUDGET = Budget(steps=20, batch_size=8, one_cycle=ONE_CYCLE)
QUICK_BUDGET = Budget(steps=400, batch_size=16, one_cycle=ONE_CYCLE)
LONG_BUDGET = replace(QUICK_BUDGET, steps=6 * QUICK_BUDGET.steps)  # a claim that fails in 400 steps may need more
PAPER_BUDGET = Budget(steps=40000, batch_size=16, one_cycle={"learning_rate": 1e-3})

SAMPLE_SIZES = Sizes(
    own=ProxyAnoConfig(widths=(8, 16, 16), latent_dim=16, memory_items=32, discriminator_widths=(8, 16)),
    width=8,
    widest=16,
    translator=(8, 12, 16),
    blocks=2,
    judge=(8, 12, 16, 16),
    search_steps=5,
)
QUICK_SIZES = Sizes(
    own=ProxyAnoConfig(widths=(24, 48, 64), adversarial=False),  # latent at a quarter of the side
    width=16,
    widest=64,
    translator=(16, 24, 32),
    blocks=3,
    judge=(16, 32, 48, 64),
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
    translator=(64, 128, 256),
    blocks=9,
    judge=(64, 128, 256, 512),
    search_steps=500,
)


def benchmark(
    canvases: Mapping[str, tuple[int, int]], budget: Budget, sizes: Sizes, *, seeds: Sequence[int] = (0,)
) -> dict[str, Baseline]:
    """Every method on the canvases (name → training rows and columns), seed by seed; later seeds are in the name."""
    if set(LABELS) != set(METHODS):
        odd = ", ".join(sorted(set(LABELS) ^ set(METHODS)))
        raise ConfigError(f"experiments/benchmark.py: expected a label and a size for every method; see {odd}")
    rows = {}
    for seed in seeds:
        for method, label in LABELS.items():
            plan = {
                canvas: CanvasTraining(size=size, model=sizes.model(method), stages=budget.stages(method))
                for canvas, size in canvases.items()
            }
            name = f"{method}-seed{seed}" if seed else method
            rows[name] = Baseline(label=label, training=TrainingPlan(method=method, canvases=plan), seed=seed)
    return rows
