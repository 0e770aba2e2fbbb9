"""How much of a memory a trained method uses on validation normals: items that lie unused remember nothing."""

from collections.abc import Mapping
from typing import Any

import torch

from models.checkpoint import load_method, read_description
from models.nets.memory import Lookup, Memory
from pipeline.steps.inference import predict_tiles
from pipeline.steps.loading import load_tiles
from pipeline.steps.store import Version
from pipeline.steps.training import checkpoint_folder


def memory_use(trained: Version, tiles: Version, canvas: str) -> Mapping[str, float]:
    """Items there are, items that are nearest to a latent at all, and the perplexity of their shares, 1 to ``items``.

    Over all latent positions of the validation normals of one canvas; empty for a method without such a memory.
    """
    folder = checkpoint_folder(trained, canvas)
    height, width = read_description(folder)["extra"]["size"]
    method = load_method(folder)
    memories = [module for module in method.modules() if isinstance(module, Memory)]
    if not memories:
        return {}
    counts = torch.zeros(len(memories[0].items))

    def count(module: Any, given: Any, found: Lookup) -> None:
        counts.add_(torch.bincount(found.index.flatten().cpu(), minlength=len(counts)))

    memories[0].register_forward_hook(count)
    held = load_tiles(tiles, None, splits=["val"], canvas=canvas, size=(height, width))
    predict_tiles(method, held, canvas=canvas, size=(height, width))
    share = counts / counts.sum()
    perplexity = torch.exp(-(share * share.clamp(min=1e-12).log()).sum())
    return {"items": len(counts), "used": int((counts > 0).sum()), "perplexity": round(float(perplexity), 2)}
