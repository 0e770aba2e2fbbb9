"""How much of its memory a trained method uses on validation normals: unused items remember nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from models.checkpoint import load_method
from models.metrics import Floats
from models.nets.memory import Lookup, Memory
from pipeline.detectors.network import network_folder, predict_tiles, trained_size
from pipeline.store.versions import Version
from pipeline.tiles.loading import load_tiles


def memory_use(trained: Version, tiles: Version, canvas: str) -> Mapping[str, float]:
    """How many items there are, how many are the nearest to any latent, and the perplexity of their shares.

    Over all latent positions of the validation normals of one canvas; empty for a method without a memory.
    """
    counted = item_counts(trained, tiles, canvas)
    if counted is None:
        return {}
    counts = counted[1].sum(axis=0, keepdims=True)
    used, spread = int(items_used(counts)[0]), round(float(perplexity(counts)[0]), 2)
    return {"items": counts.shape[1], "used": used, "perplexity": spread}


def item_counts(trained: Version, tiles: Version, canvas: str) -> tuple[pd.DataFrame, Floats] | None:
    """Index of the validation normals' tiles (n rows), and how many positions of each tile took each item (n, items).

    None for a method without a memory.
    """
    size = trained_size(trained, canvas)
    method = load_method(network_folder(trained, canvas))
    memories = [module for module in method.modules() if isinstance(module, Memory)]
    if not memories:
        return None
    items, counts = len(memories[0].items), list[Tensor]()

    def count(module: Any, given: Any, found: Lookup) -> None:
        counts.append(torch.bincount(found.index.flatten().cpu(), minlength=items))

    memories[0].register_forward_hook(count)
    held = load_tiles(tiles, None, splits=["val"], canvas=canvas, size=size)
    predict_tiles(method, held, canvas=canvas)
    calls = torch.stack(counts).reshape(len(held.index), -1, items)  # tiles are scored one after the other
    return held.index, calls.sum(dim=1).numpy().astype(float)


def perplexity(counts: Floats) -> Floats:
    """Perplexity (r,) of the shares of counts (r, items): exp of their entropy, 1 to ``items``."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    spread: Floats = np.exp(-(share * np.log(np.maximum(share, 1e-12))).sum(axis=1))
    return spread


def items_used(counts: Floats) -> Floats:
    """How many items (r,) have a count above 0, from counts (r, items)."""
    used: Floats = (counts > 0).sum(axis=1).astype(float)
    return used
