"""A refactor leaves the losses of a short training as they are; a change of numbers changes the file on purpose.

To write the file anew: `PROXYANO_WRITE_GOLDEN=1 pytest tests/unit/test_golden_losses.py`, and say why in the changelog.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from models.methods import build
from models.methods.proxyano_config import ProxyAnoConfig
from models.schedule import TrainConfig
from models.source import TensorSource
from models.trainer import fit

GOLDEN = Path(__file__).parents[1] / "golden" / "proxyano_losses.json"


def short_training(folder: Path) -> dict[str, list[dict[str, float]]]:
    """Losses of 6 steps of each stage on drawn images."""
    draw = np.random.default_rng(0)
    proxies = draw.integers(0, 220, (12, 1, 8, 8)).repeat(4, axis=2).repeat(4, axis=3)
    images = proxies + draw.integers(0, 30, proxies.shape)
    source = TensorSource.from_arrays(images.astype(np.uint8), proxies.astype(np.uint8))
    config = ProxyAnoConfig(widths=(4, 6, 8), latent_dim=6, memory_items=12, discriminator_widths=(4, 6, 8, 8))
    method = build("proxyano", config, seed=0)
    budget = TrainConfig(steps=6, batch_size=4, log_every=1, evaluate_every=3, schedule="one_cycle")
    found: dict[str, list[dict[str, float]]] = {}
    for stage in method.stages:
        lines: list[dict[str, float]] = []

        def log(step: int, figures: dict[str, float], lines: list[dict[str, float]] = lines) -> None:
            lines.append({"step": float(step)} | {k: v for k, v in figures.items() if k != "images_per_second"})

        fit(method, stage.name, source, source, budget, folder / stage.name, seed=0, log=log, progress=False)
        found[stage.name] = lines
    return found


def test_losses_are_the_golden_ones(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = short_training(tmp_path)
    finally:
        torch.set_num_threads(threads)
    if os.environ.get("PROXYANO_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    assert found.keys() == golden.keys()
    for stage, lines in golden.items():
        for line, expected in zip(found[stage], lines, strict=True):
            assert line == pytest.approx(expected, rel=2e-3, abs=1e-6), (stage, expected["step"])
