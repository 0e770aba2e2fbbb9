"""A method over many images: scores on the CPU, and the validation losses of a stage."""

from dataclasses import fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed

from models.arithmetic import warn_if_not_reproducible
from models.method import Method, Scores
from models.source import Source, TensorSource

if TYPE_CHECKING:  # two seconds to import
    from lightning_fabric import Fabric


def predict(method: Method, source: TensorSource, *, batch_size: int = 32, device: str = "auto") -> Scores:
    """Scores of every image of the source, in its order, as CPU float32 tensors; the method stays in eval mode.

    ``batch_size`` images are moved to the device at a time; no score depends on it (`Method.score`). ``device``: cpu,
    cuda, mps, or auto for the accelerator of this machine.
    """
    warn_if_not_reproducible()
    place = found_device() if device == "auto" else torch.device(device)
    method = method.to(place).eval()
    found: list[Scores] = []
    for start in range(0, len(source), batch_size):
        rows = torch.arange(start, min(start + batch_size, len(source)))
        found.append(method.score(source.batch(rows).to(place)))

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(scores, name).float().cpu().contiguous() for scores in found])

    return Scores(**{one.name: joined(one.name) for one in fields(Scores)})


def found_device() -> torch.device:
    """The accelerator of this machine, or the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def usable_devices() -> list[str]:
    """Names of the kinds of device on this machine, ``auto`` first."""
    return list(dict.fromkeys(("auto", "cpu", found_device().type)))


def validation_losses(
    method: Method, stage: str, validation: Source, batch_size: int, fabric: "Fabric"
) -> dict[str, float]:
    """Mean losses over the validation images, and their sum as ``validation``; the method is left in eval mode.

    Several ranks share the batches and all get the whole result.
    """
    method.eval()
    total = dict[str, float]()
    with torch.no_grad(), fabric.autocast():
        for rows in torch.split(torch.arange(len(validation)), batch_size)[fabric.global_rank :: fabric.world_size]:
            batch = validation.batch(rows).to(fabric.device)
            for name, value in method.validation(stage, batch).items():
                total[name] = total.get(name, 0.0) + float(value) * len(rows) / len(validation)
    if fabric.world_size > 1:
        parts = [dict[str, float]()] * fabric.world_size
        distributed.all_gather_object(parts, total)
        total = {name: sum(part.get(name, 0.0) for part in parts) for name in parts[0]}
    return total | {"validation": sum(total.values())}
