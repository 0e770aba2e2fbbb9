"""A look at the current versions of a store: which are damaged, and how much was compared."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.errors import REMEDY, NeverMaterialized, StoreCorrupt
from pipeline.store.verify import compare, is_chunks
from pipeline.store.versions import Store

Chunks = list[tuple[str, Path, str, dict[str, Any]]]  # asset, folder of its version, name, bytes and sha256


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a look at current versions found."""

    damaged: dict[str, str]  # asset → what is damaged
    versions: int  # looked at
    compared: int  # bytes of files whose hashes were compared
    size: int  # bytes of all files of these versions


def current_assets(store: Store) -> list[str]:
    """Every asset with a pointer to a current version."""
    top = store.root / "current"
    return sorted(path.relative_to(top).with_suffix("").as_posix() for path in top.rglob("[!.]*.json"))


def survey(
    store: Store, assets: Iterable[str], *, seconds: float = math.inf, rng: np.random.Generator | None = None
) -> Survey:
    """Compare the current versions of ``assets`` with their markers until ``seconds`` are over.

    First come all files but chunks of arrays, whose sizes are compared, then the chunks, shuffled by ``rng``.
    """
    end, damaged, chunks, versions, compared, size = time.monotonic() + seconds, dict[str, str](), Chunks(), 0, 0, 0
    for asset in assets:
        try:
            version = store.current(asset)
        except NeverMaterialized:
            continue
        except StoreCorrupt as error:
            damaged[asset] = str(error).removesuffix(REMEDY)
            continue
        files = store.marker(version)["files"]
        found = [(asset, version.path, name, file) for name, file in files.items() if is_chunks(name)]
        versions, chunks = versions + 1, chunks + found
        size += sum(file["bytes"] for file in files.values())
        if time.monotonic() > end:
            break
    compared = size - sum(file["bytes"] for *_, file in chunks)
    order = range(len(chunks)) if rng is None else rng.permutation(len(chunks))
    for number in tqdm(order, desc="comparing chunks", delay=2, leave=False):
        if time.monotonic() > end:
            break
        asset, folder, name, wanted = chunks[number]
        try:
            compare(folder, name, wanted)
        except StoreCorrupt as error:
            damaged.setdefault(asset, str(error).removesuffix(REMEDY))
        compared += wanted["bytes"]
    return Survey(damaged=damaged, versions=versions, compared=compared, size=size)
