"""Validation losses of a stage, measured with batch norms that have statistics of the current weights."""

from typing import TYPE_CHECKING

import torch

from models.method import Method
from models.nets.batch_statistics import recomputed_statistics
from models.source import TensorSource

if TYPE_CHECKING:  # two seconds to import
    from lightning_fabric import Fabric

CALIBRATION = 8
"""Batches of training images from which batch norms take their running statistics."""


def calibrate(method: Method, stage: str, train: TensorSource, batch_size: int, fabric: "Fabric") -> None:
    """Recompute the running statistics of the stage's batch norms under the current weights, from evenly spaced images.

    Those collected while training lag behind weights that change fast, and validation jumps (Wu and Johnson 2021,
    https://arxiv.org/abs/2105.07576).
    """
    count = min(len(train), CALIBRATION * batch_size)
    batches = max(1, min(CALIBRATION, count // 2))
    rows = torch.linspace(0, len(train) - 1, count).long()
    networks = [method.get_submodule(name) for name in method.modules_of(stage)]
    method.eval()
    with torch.no_grad(), fabric.autocast(), recomputed_statistics(*networks):
        for start in range(batches):
            method.validation(stage, train.batch(rows[start::batches]).to(fabric.device))


def validation_losses(
    method: Method, stage: str, validation: TensorSource, batch_size: int, fabric: "Fabric"
) -> dict[str, float]:
    """Mean losses over the validation images, and their sum as ``validation``; the method is left in eval mode."""
    method.eval()
    total = dict[str, float]()
    with torch.no_grad(), fabric.autocast():
        for rows in torch.split(torch.arange(len(validation)), batch_size):
            batch = validation.batch(rows).to(fabric.device)
            for name, value in method.validation(stage, batch).items():
                total[name] = total.get(name, 0.0) + float(value) * len(rows) / len(validation)
    return total | {"validation": sum(total.values())}
