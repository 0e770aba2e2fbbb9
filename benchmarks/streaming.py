"""Training on twice the data that fit into the allowed memory: its memory and its speed beside data in memory.

    OMP_NUM_THREADS=1 python -m benchmarks.streaming [--size 128] [--gigabytes 0.1] [--steps 100] [--pairs 3]

Draws a store of tiles of 256 px, then trains stage 1 of the OCT lane (preset quick) at ``size`` px, each run in a
process of its own, in turn streamed and in memory. A run warms up on a few images and one shard; ``peak_mb`` is how
far its peak of resident memory rises after that, to be held against the allowed memory (no limit is enforced: Linux
counts address space or thread stacks). Speed and CPU time count the steps after the first batch, so on a busy machine
compare the CPU time.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import pandas as pd
import zarr

from pipeline.experiments.presets import PRESETS
from pipeline.forms.form import SCORED, TILE
from pipeline.store.shards import create, open_array, row_blocks, write_rows
from pipeline.store.versions import Version
from pipeline.tiles.streaming import TrainingData

SHARD, VALIDATION, WARM = 128, 64, 40


def draw(folder: Path, count: int) -> None:
    """A store of smooth random pictures with noise and blocky proxies; the last are for validation."""
    rng = np.random.default_rng(0)
    noise = rng.normal(20, 6, (64, TILE, TILE))
    for part, name, shape in (
        ("", "pixels", (count, 1, TILE, TILE)),
        ("proxies", "pixels", (count, 1, TILE, TILE)),
        ("", "validity", (count, TILE, TILE)),
    ):
        group = zarr.open_group(folder / part, mode="a", attributes={"neutral": 0, "lesions": []})
        create(group, name, shape, shard=SHARD, level=1)
    for start, stop in row_blocks(count, SHARD):
        coarse = rng.integers(0, 200, (stop - start, 16, 16)).astype(np.uint8)
        fine = [cv2.resize(one, (TILE, TILE)) + noise[number % 64] for number, one in enumerate(coarse)]
        write_rows(open_array(folder, "pixels", "r+"), start, np.clip(fine, 0, 255).astype(np.uint8)[:, None])
        write_rows(open_array(folder / "proxies", "pixels", "r+"), start, coarse.repeat(16, 1).repeat(16, 2)[:, None])
        full = np.full((stop - start, TILE, TILE), SCORED, np.uint8)
        write_rows(open_array(folder, "validity", "r+"), start, full)
    index = pd.DataFrame(
        {"tile": range(count), "canvas": "wide", "label": 0, "image_id": [f"{n}" for n in range(count)]}
    )
    index["split"] = ["train"] * (count - VALIDATION) + ["val"] * VALIDATION
    index.to_parquet(folder / "index.parquet")


def run(kind: str, folder: Path, size: int, gigabytes: float, steps: int) -> dict[str, Any]:
    """Train some steps and measure; in its own process."""
    import torch

    from models.methods import build
    from models.source import TensorSource
    from models.trainer import _Run

    own = PRESETS["quick"].lanes["oct"].training.canvases["wide"]
    config, method = own.stages["stage1"], build("proxyano", own.model, seed=0)
    versions = [Version(asset="x", path=path, data_version="", meta={}) for path in (folder, folder / "proxies")]
    memory = gigabytes * 1e9
    data = TrainingData(tiles=versions[0], proxies=versions[1], canvas="wide", size=(size, size), memory=memory)
    data.streams(0)[1].batch(torch.arange(VALIDATION))  # the readers' threads and buffers are there
    shape = (WARM * config.batch_size, 1, size, size)
    few = TensorSource(images=torch.zeros(shape, dtype=torch.uint8), proxies=torch.zeros(shape, dtype=torch.uint8))
    with tempfile.TemporaryDirectory() as state:
        warm = _Run(method, method.stage("stage1"), few, few, config, Path(state), 0, "")
        for step in range(WARM):
            warm.state.progress.step = step
            warm._step()
        warm.batches.close()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        sources = data.sources(data.window() if kind == "stream" else 0)
        training = _Run(method, method.stage("stage1"), *sources, config, Path(state), 0, "")
        training._step()
        ready, worked = time.perf_counter(), time.process_time()
        for step in range(1, steps + 1):
            training.state.progress.step = step
            training._step()
        spent, worked = time.perf_counter() - ready, time.process_time() - worked
        training.batches.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "kind": kind,
        "window": training.order.window,
        "of": training.order.count,
        "data_mb": round(training.order.count * 4 * size**2 / 1e6),
        "peak_mb": round((peak - before) * 1024 / 1e6),
        "first_batch_s": round(ready - began, 1),
        "images_per_s": round(steps * config.batch_size / spent, 1),
        "cpu_ms_per_image": round(1e3 * worked / (steps * config.batch_size), 2),
    }


def main() -> None:
    """Draw the store and run the pairs, or one run where its kind is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--gigabytes", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--run", nargs=2, metavar=("KIND", "FOLDER"))
    given = parser.parse_args()
    if given.run:
        print(json.dumps(run(given.run[0], Path(given.run[1]), given.size, given.gigabytes, given.steps)))
        return
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), int(2 * given.gigabytes * 1e9 / (4 * given.size**2)) + VALIDATION)
        options = [f"--{name}={getattr(given, name)}" for name in ("size", "gigabytes", "steps")]
        found: dict[str, list[dict[str, Any]]] = {"stream": [], "memory": []}
        for kind in ["stream", "memory"] * given.pairs:
            command = [sys.executable, "-m", "benchmarks.streaming", *options, "--run", kind, folder]
            text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[kind].append(json.loads(text.splitlines()[-1]))
            print(found[kind][-1], flush=True)
    for name in ("images_per_s", "cpu_ms_per_image"):
        ratios = [one[name] / other[name] for one, other in zip(found["stream"], found["memory"], strict=True)]
        print(f"{name}, streamed over in memory: median {median(ratios):.2f}, {[round(ratio, 2) for ratio in ratios]}")


if __name__ == "__main__":
    main()
