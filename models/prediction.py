"""Scores of many images: one device, results on the CPU."""

from dataclasses import fields

import torch
from tqdm import tqdm

from models.arithmetic import warn_if_not_reproducible
from models.method import Method, Scores
from models.source import TensorSource


def predict(
    method: Method, source: TensorSource, *, batch_size: int = 32, device: str = "auto", progress: bool = False
) -> Scores:
    """Scores of every image of the source, in its order, as CPU float32 tensors; the method stays in eval mode.

    ``batch_size`` images are moved to the device at a time; no score depends on it (`Method.score`).
    """
    from lightning_fabric import Fabric  # two seconds to import, and most commands predict nothing

    warn_if_not_reproducible()
    fabric = Fabric(accelerator=device, devices=1, precision="32-true")
    method = method.to(fabric.device).eval()
    found: list[Scores] = []
    starts = range(0, len(source), batch_size)
    for start in tqdm(starts, desc="score", unit="batch", disable=not progress, leave=False):
        rows = torch.arange(start, min(start + batch_size, len(source)))
        with fabric.autocast():
            found.append(method.score(source.batch(rows).to(fabric.device)))
    parts = {one.name: [getattr(scores, one.name) for scores in found] for one in fields(Scores)}
    return Scores(
        **{name: torch.cat([part.float().cpu().contiguous() for part in each]) for name, each in parts.items()}
    )
