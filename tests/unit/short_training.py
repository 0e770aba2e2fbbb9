"""A short training of a tiny ProxyAno on drawn images, for the tests of the trainer."""

from pathlib import Path

import torch

from models.methods import build
from models.methods.proxyano_config import ProxyAnoConfig
from models.schedule import TrainConfig
from models.source import TensorSource
from models.trainer import TrainResult, fit

METHOD = ProxyAnoConfig(widths=(4, 6), latent_dim=4, memory_items=8, discriminator_widths=(4, 6))
TRAIN = TrainConfig(
    steps=14, batch_size=5, schedule="one_cycle", weight_average=0.9, evaluate_every=3, checkpoint_every=4, log_every=2
)


def source(count: int, seed: int) -> TensorSource:
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (count, 1, 4, 4), generator=draw, dtype=torch.uint8)
    proxies = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)
    noise = torch.randint(0, 30, proxies.shape, generator=draw, dtype=torch.uint8)
    valid = torch.ones(count, 16, 16, dtype=torch.uint8)
    valid[:, :, 13:] = 0
    return TensorSource(images=proxies // 2 + noise, proxies=proxies // 2, valid=valid)


def run(folder: Path, stage: str, config: TrainConfig = TRAIN, *, stop_at: int = 0, data: str = "a") -> TrainResult:
    """Train a fresh method; with `stop_at`, break off at that step as a kill would."""

    def log(step: int, figures: dict[str, float]) -> None:
        assert all(isinstance(value, float) for value in figures.values())
        if step == stop_at:
            raise KeyboardInterrupt

    method = build("proxyano", METHOD, seed=0)
    return fit(method, stage, source(23, 0), source(7, 1), config, folder, seed=4, log=log, data=data, progress=False)
