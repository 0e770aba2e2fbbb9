"""How fast each stage is, beside its limit on the same machine, in one run: a table for docs/results/speed.

    PROXYANO_RAW=… OMP_NUM_THREADS=1 python -m benchmarks.speed [forms] [proxies] [training] [beside]

- ``forms``: reading and cutting a real file, over decoding its JPEG or PNG alone (Pillow).
- ``proxies``: a proxy on two threads, with reading and writing the store, over scikit-image's SLIC alone on one.
- ``training``: arithmetic of a training step, over a bfloat16 matrix product, both on one thread.
- ``beside``: a training step on two threads beside a process that keeps one core busy, over the step alone.

Best of some runs each; run it on a quiet machine, in a shell that `activate` has set up.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from models.arithmetic import cpu_name
from models.methods import build
from models.source import TensorSource
from models.trainer import _Run
from pipeline.data.decode import read_frames
from pipeline.errors import UnusableImage
from pipeline.experiments.presets import PRESETS
from pipeline.forms import FORMS
from pipeline.forms.form import SCORED, TILE, Form, SlotTile
from pipeline.store.shards import create, open_array, row_blocks, write_rows
from pipeline.store.versions import Store, Version
from pipeline.tiles.proxies import build_proxies, proxy_at
from pipeline.tiles.proxy_kinds import ProxyConfig
from pipeline.wiring.settings import Settings

Row = tuple[str, str, str, float]
"""(work, measured, its limit, their ratio)."""
FILES, REPEATS = 24, 5
TILES, SHARD, THREADS = 256, 64, 2
SIZE, BATCH, STEPS = 128, 16, 3


def best(function: Callable[[], object], repeats: int = REPEATS) -> float:
    """Seconds of the fastest run, after one to warm up."""
    function()
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        spent.append(time.perf_counter() - began)
    return min(spent)


def each(function: Callable[[Any], object], values: Iterable[Any]) -> None:
    """Call the function with each value."""
    for value in values:
        function(value)


def decoded(path: Path) -> NDArray[np.uint8]:
    """The pixels of a file, by Pillow alone."""
    return np.asarray(Image.open(path))


def read_and_cut(form: Form, path: Path) -> tuple[SlotTile, ...]:
    """The tiles of a file, by the product."""
    return form.cut(next(read_frames(path)).usable, {})


def forms() -> Iterator[Row]:
    """Milliseconds a file, for each data set of the raw folder."""
    root = Settings().raw_root
    for dataset, lane in PRESETS["quick"].lanes.items():
        form = FORMS[lane.tiles.form]
        kinds = {".jpg", ".jpeg", ".png"}
        paths = sorted(path for path in (root / dataset).rglob("*") if path.suffix.lower() in kinds)
        random.Random(0).shuffle(paths)
        usable = []
        for path in paths:
            try:
                read_and_cut(form, path)
            except UnusableImage:
                continue
            usable.append(path)
            if len(usable) == (6 if dataset == "idrid" else FILES):
                break
        decode = best(partial(each, decoded, usable)) / len(usable)
        cut = best(partial(each, partial(read_and_cut, form), usable), 3) / len(usable)
        yield f"{dataset}: read and cut", f"{cut * 1e3:.1f} ms", f"decode {decode * 1e3:.1f} ms", cut / decode


def proxies() -> Iterator[Row]:
    """Proxies a second."""
    with tempfile.TemporaryDirectory() as folder:
        tiles = made_tiles(Path(folder) / "tiles")
        for size in (TILE, SIZE):
            config = ProxyConfig(sizes={} if size == TILE else {"wide": (size, size)})
            pixels, valid = open_array(tiles.path, "pixels")[:32], np.full((TILE, TILE), SCORED, np.uint8)
            make = partial(proxy_at, validity=valid, neutral=0, config=config, size=(size, size))
            alone = best(partial(each, make, pixels), 2) / len(pixels)
            spent = []
            for repeat in range(3):
                began = time.perf_counter()
                store = Store(Path(folder) / f"{size}-{repeat}")
                build_proxies(tiles, config, store, code_version="0", workers=THREADS)
                spent.append((time.perf_counter() - began) / TILES)
            both = min(spent)
            limit = f"one thread {1 / alone:.0f}/s"
            yield f"proxies at {size} px, {THREADS} threads", f"{1 / both:.0f}/s", limit, alone / both


def made_tiles(path: Path) -> Version:
    """A tiles store of smooth random pictures with noise."""
    import pandas as pd

    generator = np.random.default_rng(0)
    group = zarr.open_group(path, mode="w", attributes={"neutral": 0, "lesions": []})
    create(group, "pixels", (TILES, 1, TILE, TILE), shard=SHARD, level=1)
    create(group, "validity", (TILES, TILE, TILE), shard=SHARD, level=1)
    for start, stop in row_blocks(TILES, SHARD):
        block = np.empty((stop - start, 1, TILE, TILE), np.uint8)
        for row in range(stop - start):
            coarse = generator.integers(0, 200, (16, 16)).astype(np.float32)
            fine = cv2.resize(coarse, (TILE, TILE), interpolation=cv2.INTER_CUBIC)
            block[row, 0] = np.clip(fine + generator.normal(20, 6, fine.shape), 0, 255)
        write_rows(open_array(path, "pixels", "r+"), start, block)
        write_rows(open_array(path, "validity", "r+"), start, np.full((stop - start, TILE, TILE), SCORED, np.uint8))
    pd.DataFrame({"canvas": ["wide"] * TILES}).to_parquet(path / "index.parquet")
    return Version(asset="benchmark/tiles", path=path, data_version="0" * 16, meta={})


def training() -> Iterator[Row]:
    """GFLOP a second of the OCT lane's training steps."""
    torch.set_num_threads(1)
    left, right = (torch.randn(2048, 2048, dtype=torch.bfloat16) for _ in range(2))
    product = 2 * 2048**3 / best(lambda: left @ right) / 1e9
    for stage in ("stage1", "stage2"):
        with step(stage) as one, FlopCounterMode(display=False) as counted:
            one()
        with step(stage) as one:
            seconds = seconds_of(one)
        rate = counted.get_total_flops() / seconds / 1e9
        work = f"{stage} at {SIZE} px, batch of {BATCH}: {BATCH / seconds:.0f} images/s"
        yield work, f"{rate:.0f} GFLOP/s", f"product {product:.0f} GFLOP/s", rate / product


def beside() -> Iterator[Row]:
    """Seconds of a step of stage 1 while another process computes matrix products on one thread."""
    torch.set_num_threads(2)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # and of its child
    products = "import torch; torch.set_num_threads(1); a = torch.randn(512, 512)\nwhile True: a @ a"
    with step("stage1") as one:
        alone = seconds_of(one)
        busy = subprocess.Popen([sys.executable, "-c", products])
        try:
            time.sleep(10)  # its imports
            shared = seconds_of(one)
            if busy.poll() is not None:
                raise RuntimeError(f"the busy process ended with {busy.returncode}")
        finally:
            busy.kill()
            busy.wait()
    yield "stage1 on two threads beside a busy process", f"{shared:.2f} s", f"alone {alone:.2f} s", shared / alone


@contextmanager
def step(stage: str) -> Iterator[Callable[[], object]]:
    """One training step of a stage of the OCT lane, to be called again and again."""
    own = PRESETS["quick"].lanes["oct"].training.canvases["wide"]
    images = torch.randint(0, 256, (64, 1, SIZE, SIZE), dtype=torch.uint8)
    source, method = TensorSource(images=images, proxies=images), build("proxyano", own.model, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        run = _Run(method, method.stage(stage), source, source, own.stages[stage], Path(folder), 0, "")
        run._step()
        yield run._step


def seconds_of(one: Callable[[], object]) -> float:
    """Least seconds of a step, over some in a row."""
    return best(partial(each, lambda _: one(), range(STEPS)), 3) / STEPS


PARTS = {"forms": forms, "proxies": proxies, "training": training, "beside": beside}


def main() -> None:
    """Print the table."""
    cv2.setNumThreads(1)
    print(f"{cpu_name()}, {os.cpu_count()} cores\n\n| work | measured | limit | ratio |\n|---|--:|--:|--:|")
    for name in sys.argv[1:] or PARTS:
        for work, measured, limit, ratio in PARTS[name]():
            print(f"| {work} | {measured} | {limit} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
