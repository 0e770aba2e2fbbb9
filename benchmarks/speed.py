"""How fast each stage is, beside its limit on the same machine, in one run: a table for docs/results/speed.

    PROXYANO_RAW=… OMP_NUM_THREADS=1 python -m benchmarks.speed [forms] [proxies] [training] [commands]

- ``forms``: reading and cutting a real file, over decoding its JPEG or PNG alone (Pillow).
- ``proxies``: a proxy on two threads, with reading and writing the store, over scikit-image's SLIC alone on one.
- ``training``: arithmetic of a training step, over a bfloat16 matrix product, both on one thread.
- ``commands``: CPU seconds of commands that people wait for, over Python's own start.

Best of some runs each; run it on a quiet machine.
"""

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray
from PIL import Image

from models.arithmetic import cpu_name
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
COMMANDS = (
    ("--help",),
    ("--version",),
    ("summary",),
    ("doctor",),
    ("refresh", "--dry-run"),
    ("dataset", "--help"),
    ("experiments", "list", "--help"),
    ("score", "--help"),
)


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
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from models.methods import build
    from models.source import TensorSource
    from models.trainer import _Run

    torch.set_num_threads(1)
    left, right = (torch.randn(2048, 2048, dtype=torch.bfloat16) for _ in range(2))
    product = 2 * 2048**3 / best(lambda: left @ right) / 1e9
    own = PRESETS["quick"].lanes["oct"].training.canvases["wide"]
    images = torch.randint(0, 256, (64, 1, SIZE, SIZE), dtype=torch.uint8)
    source = TensorSource(images=images, proxies=images)
    for stage, config in own.stages.items():
        method = build("proxyano", own.model, seed=0)
        with tempfile.TemporaryDirectory() as folder:
            run = _Run(method, method.stage(stage), source, source, config, Path(folder), 0, "")
            with FlopCounterMode(display=False) as counted:
                run._step()
            seconds = best(partial(each, lambda _, run=run: run._step(), range(STEPS)), 3) / STEPS
        rate = counted.get_total_flops() / seconds / 1e9
        work = f"{stage} at {SIZE} px, batch of {BATCH}: {BATCH / seconds:.0f} images/s"
        yield work, f"{rate:.0f} GFLOP/s", f"product {product:.0f} GFLOP/s", rate / product


def commands() -> Iterator[Row]:
    """CPU seconds of whole commands."""
    nothing = cpu([sys.executable, "-c", ""])
    for words in COMMANDS:
        spent = cpu([sys.executable, "-m", "pipeline.cli", *words])
        name = f"proxyano {' '.join(words)}"
        yield name, f"{spent:.2f} s CPU", f"python -c '' {nothing:.2f} s", spent / nothing


def cpu(command: list[str]) -> float:
    """Least user and system seconds of three runs."""
    found = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


PARTS = {"forms": forms, "proxies": proxies, "training": training, "commands": commands}


def main() -> None:
    """Print the table."""
    cv2.setNumThreads(1)
    print(f"{cpu_name()}, {os.cpu_count()} cores\n\n| work | measured | limit | ratio |\n|---|--:|--:|--:|")
    for name in sys.argv[1:] or PARTS:
        for work, measured, limit, ratio in PARTS[name]():
            print(f"| {work} | {measured} | {limit} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
