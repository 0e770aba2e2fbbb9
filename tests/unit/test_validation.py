"""Batch norms get statistics of the current weights before validation; nothing else changes."""

from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from models.method import Batch
from models.methods import METHODS, build
from models.methods.reconstruction import ReconstructionConfig
from models.nets.batch_statistics import recomputed_statistics
from models.prediction import calibrate, validation_losses
from tests.unit.short_training import METHOD, source

FABRIC = Fabric(accelerator="cpu", devices=1)


def test_running_statistics_are_the_mean_over_the_batches_and_the_momentum_returns():
    norm, idle = nn.BatchNorm2d(2, momentum=0.1), nn.BatchNorm2d(2)
    idle.running_mean += 3
    draw = torch.Generator().manual_seed(0)
    batches = [torch.randn(4, 2, 3, 3, generator=draw) * n + n for n in (1, 5)]
    with recomputed_statistics(norm, idle):
        for batch in batches:
            norm(batch)
    expected = torch.stack([batch.mean(dim=(0, 2, 3)) for batch in batches]).mean(dim=0)
    assert torch.allclose(norm.running_mean, expected, atol=1e-5)
    assert (norm.momentum, norm.training, int(norm.num_batches_tracked)) == (0.1, False, 2)
    assert torch.equal(idle.running_mean, torch.full((2,), 3.0)), "a norm that no batch reaches keeps its statistics"


def batches(count: int, size: int = 5) -> list[Batch]:
    drawn = source(count, 0)
    return [drawn.batch(rows) for rows in torch.split(torch.arange(count), size)]


@pytest.mark.parametrize("count", [2, 5, 40])
def test_only_statistics_of_the_stage_change(count):
    method = build("proxyano", METHOD, seed=0)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    calibrate(method, "stage1", batches(count), FABRIC, seed=0)
    changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all((name.startswith("extraction.") and "running_" in name) or "num_batches" in name for name in changed)


def test_statistics_that_lag_behind_do_not_spoil_validation():
    method = build("auto_encoder", ReconstructionConfig(widths=(4, 6), latent_dim=4), seed=0)
    held = source(7, 1)
    calibrate(method, "stage1", batches(40), FABRIC, seed=0)
    good = validation_losses(method, "stage1", held, 5, FABRIC)["validation"]
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.mul_(0.01)
    spoilt = validation_losses(method, "stage1", held, 5, FABRIC)["validation"]
    calibrate(method, "stage1", batches(40), FABRIC, seed=0)
    assert spoilt > 2 * good
    assert validation_losses(method, "stage1", held, 5, FABRIC)["validation"] == pytest.approx(good)


@pytest.mark.parametrize("name", ["proxyano", "denoising", "segmentation"])
def test_statistics_are_those_of_training_with_its_altered_images(name):
    """The loss of a batch is the same with its own statistics (training mode) and with running ones taken from it."""
    altering = {"patch_on": "image", "makers": ("blob",), "maker_strength": (0.6, 0.8), "adversarial": False}
    config = replace(METHOD, **altering) if name == "proxyano" else METHODS[name].config_type(widths=(4, 6))
    method = build(name, config, seed=0)
    stage = method.stages[-1]
    (phase,) = stage.phases
    (batch,) = batches(16, 16)
    calibrate(method, stage.name, [batch], FABRIC, seed=3)
    calm = method.losses(stage.name, phase.name, batch, torch.Generator().manual_seed(3))
    method.activate(phase)
    trained = method.losses(stage.name, phase.name, batch, torch.Generator().manual_seed(3))
    for loss, value in trained.items():
        assert calm[loss].item() == pytest.approx(value.item(), rel=0.02), loss
