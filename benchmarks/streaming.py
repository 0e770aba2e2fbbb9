"""Training on twice the data that fit into the allowed memory: its memory and its speed beside data in memory.

    OMP_NUM_THREADS=1 python -m benchmarks.streaming [--size 128] [--gigabytes 0.1] [--steps 100] [--pairs 3] [--limit]

Draws a store of tiles of 256 px, then trains stage 1 of the OCT lane (preset quick) at ``size`` px, each run in a
process of its own, in turn streamed and in memory. A run warms up on a few images and one shard; ``peak_mb`` is how
far its peak of resident memory rises after that, to be held against the allowed memory. Speed and CPU time count the
steps after the first batch, so on a busy machine compare the CPU time.

With ``--limit`` (root, memory cgroups) the kernel enforces it: a streamed run may hold the allowed memory beside what
its warm-up held at its peak, and no more. One more run, in memory, has the same limit: it must be killed.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
CGROUPS = Path("/sys/fs/cgroup")


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


@contextmanager
def cgroup() -> Iterator[Path]:
    """A memory cgroup of its own, of version 1 or 2."""
    first = CGROUPS / "memory"
    made = (first if first.is_dir() else CGROUPS) / f"streaming-{os.getpid()}"
    made.mkdir()
    try:
        yield made
    finally:
        made.rmdir()


def limit(group: Path, memory: int) -> None:
    """Let a cgroup, which holds this process alone, have so many bytes more than this process had at its peak."""
    said = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak, files = (int(said[name].split()[0]) * 1024 for name in ("VmHWM", "RssFile"))
    name = next(name for name in ("memory.max", "memory.limit_in_bytes") if (group / name).exists())
    (group / name).write_text(str(peak - files + memory))


def run(kind: str, folder: Path, size: int, gigabytes: float, steps: int, group: Path | None) -> dict[str, Any]:
    """Train some steps and measure; in its own process."""
    if group:
        (group / "cgroup.procs").write_text(str(os.getpid()))
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
        if group:
            limit(group, int(memory))
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
    parser.add_argument("--limit", action="store_true", help="let the kernel enforce the allowed memory")
    parser.add_argument("--run", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--group", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        kind, place = given.run
        print(json.dumps(run(kind, Path(place), given.size, given.gigabytes, given.steps, given.group)))
        return
    with ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory())
        group = held.enter_context(cgroup()) if given.limit else None
        draw(Path(folder), int(2 * given.gigabytes * 1e9 / (4 * given.size**2)) + VALIDATION)
        options = [f"--{name}={getattr(given, name)}" for name in ("size", "gigabytes", "steps")]

        def measured(kind: str, *more: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "benchmarks.streaming", *options, "--run", kind, folder, *more]
            return subprocess.run(command, stdout=subprocess.PIPE, text=True)

        within = [f"--group={group}"] if group else []
        found: dict[str, list[dict[str, Any]]] = {"stream": [], "memory": []}
        for kind in ["stream", "memory"] * given.pairs:
            done = measured(kind, *(within if kind == "stream" else []))
            if done.returncode:
                sys.exit(f"the run {kind} ended with {done.returncode}; {-signal.SIGKILL}: out of the allowed memory")
            found[kind].append(json.loads(done.stdout.splitlines()[-1]))
            print(found[kind][-1], flush=True)
        if group and (ended := measured("memory", *within).returncode) != -signal.SIGKILL:
            sys.exit(f"the limit limits nothing: a run in memory ended with {ended}")
    for name in ("images_per_s", "cpu_ms_per_image"):
        ratios = [one[name] / other[name] for one, other in zip(found["stream"], found["memory"], strict=True)]
        print(f"{name}, streamed over in memory: median {median(ratios):.2f}, {[round(ratio, 2) for ratio in ratios]}")


if __name__ == "__main__":
    main()
