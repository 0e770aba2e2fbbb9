"""Scores of many images: one device, results on the CPU."""

from dataclasses import fields

import torch
from torch import Tensor
from tqdm import tqdm

from models.arithmetic import warn_if_not_reproducible
from models.method import Method, Scores
from models.source import TensorSource


def predict(
    method: Method,
    source: TensorSource,
    *,
    batch_size: int = 32,
    precision: str = "32-true",
    device: str = "auto",
    progress: bool = False,
) -> Scores:
    """Scores of every image of the source, in its order, as CPU float32 tensors; the method stays in eval mode.

    ``batch_size`` images are moved to the device at a time; no score depends on it (`Method.score`).
    """
    from lightning_fabric import Fabric  # two seconds to import, and most commands predict nothing

    warn_if_not_reproducible()
    fabric = Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]
    method = method.to(fabric.device).eval()
    found: list[Scores] = []
    starts = range(0, len(source), batch_size)
    for start in tqdm(starts, desc="score", unit="batch", disable=not progress, leave=False):
        rows = torch.arange(start, min(start + batch_size, len(source)))
        batch = source.batch(rows).to(fabric.device)
        with fabric.autocast():
            found.append(method.score(batch))

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(scores, name).float().cpu().contiguous() for scores in found])

    return Scores(**{field.name: joined(field.name) for field in fields(Scores)})
