"""How well superpixel proxies use two cores: images a second on one and on two dask threads, and the efficiency.

    python -m benchmarks.slic [--tiles 512] [--repeats 3] [--address tcp://scheduler:8786]

Measures the whole step (read tiles, SLIC, write shards, hash), on generated tiles, and takes the best of the repeats.
Efficiency = time on one thread / (2 x time on two threads); the target is at least 0.85. Run it on a quiet machine,
with OMP_NUM_THREADS=1. Exit status 1 where the target is missed.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import zarr

from pipeline.forms.form import SCORED, TILE
from pipeline.store.shards import create, open_array, row_blocks, write_rows
from pipeline.store.versions import Store, Version
from pipeline.tiles.proxies import build_proxies
from pipeline.tiles.proxy_kinds import ProxyConfig

TARGET = 0.85
WORKERS = 2


def make_tiles(path: Path, count: int, shard: int) -> Version:
    """A tiles store of smooth random pictures with noise."""
    generator = np.random.default_rng(0)
    group = zarr.open_group(path, mode="w", attributes={"neutral": 0, "lesions": []})
    create(group, "pixels", (count, 1, TILE, TILE), shard=shard, level=1)
    create(group, "validity", (count, TILE, TILE), shard=shard, level=1)
    for start, stop in row_blocks(count, shard):
        block = np.empty((stop - start, 1, TILE, TILE), np.uint8)
        for row in range(stop - start):
            coarse = generator.integers(0, 200, (16, 16)).astype(np.float32)
            fine = cv2.resize(coarse, (TILE, TILE), interpolation=cv2.INTER_CUBIC)
            block[row, 0] = np.clip(fine + generator.normal(20, 6, fine.shape), 0, 255)
        write_rows(open_array(path, "pixels", "r+"), start, block)
        write_rows(open_array(path, "validity", "r+"), start, np.full((stop - start, TILE, TILE), SCORED, np.uint8))
    return Version(asset="benchmark/tiles", path=path, data_version="0" * 16, meta={})


def seconds(tiles: Version, root: Path, name: str, workers: int | None, address: str | None) -> float:
    """Wall time of one build into a store of its own."""
    settings = {"code_version": "0", "workers": workers, "scheduler_address": address}
    start = time.perf_counter()
    build_proxies(tiles, ProxyConfig(), Store(root / name), **settings)
    return time.perf_counter() - start


def main() -> int:
    """Print the table; 0 where the efficiency on dask threads reaches the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=512, help="number of tiles (default 512)")
    parser.add_argument("--shard", type=int, default=64, help="tiles a shard, hence a task (default 64)")
    parser.add_argument("--repeats", type=int, default=3, help="builds of each kind, taken in turn (default 3)")
    parser.add_argument("--address", help="also measure a distributed cluster at this scheduler address")
    arguments = parser.parse_args()
    kinds: dict[str, tuple[int | None, str | None]] = {"1 thread": (1, None), f"{WORKERS} threads": (WORKERS, None)}
    if arguments.address:
        kinds["cluster"] = (None, arguments.address)
    best = dict.fromkeys(kinds, float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        tiles = make_tiles(Path(folder) / "tiles", arguments.tiles, arguments.shard)
        for repeat in range(arguments.repeats):
            for kind, (workers, address) in kinds.items():
                taken = seconds(tiles, Path(folder), f"{kind.replace(' ', '-')}-{repeat}", workers, address)
                best[kind] = min(best[kind], taken)
    efficiency = {kind: best["1 thread"] / (WORKERS * taken) for kind, taken in best.items()}
    print(f"| {arguments.tiles} tiles of 256x256, shards of {arguments.shard} | seconds | images/s | efficiency on 2 |")
    print("|---|---|---|---|")
    for kind, taken in best.items():
        shown = "" if kind == "1 thread" else f"{efficiency[kind]:.3f}"
        print(f"| {kind} | {taken:.2f} | {arguments.tiles / taken:.1f} | {shown} |")
    return 0 if efficiency[f"{WORKERS} threads"] >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
