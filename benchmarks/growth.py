"""How time and memory of images, tiles and proxies grow with the number of images.

    OMP_NUM_THREADS=1 python -m benchmarks.growth [--counts 1000 4000 16000] [--stages images tiles proxies]

Draws that many small images as normals of brain MRI, whose images are also compared with each other, and makes each
stage in a process of its own, on one thread. Prints CPU time, size of the store and peak memory (the process less its
imports), and the exponent of growth since the count before. Exit status 1 if an exponent exceeds 1.05.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from pipeline.data.datasets import DATASETS
from pipeline.data.manifest import build_manifest
from pipeline.data.raw import RawFolder
from pipeline.data.splits import ImagesConfig
from pipeline.forms import FORMS
from pipeline.store.versions import Store
from pipeline.tiles.proxies import build_proxies
from pipeline.tiles.proxy_kinds import ProxyConfig
from pipeline.tiles.tiles import TilesConfig, build_tiles

DATASET, FORM = DATASETS["brain_mri"], FORMS["plain"]
STAGES = ("images", "tiles", "proxies")
ALLOWED = 1.05
HOW = {"code_version": "0", "workers": 1}


def draw(folder: Path, count: int, side: int) -> None:
    """Smooth noise, every image another: half of the normals from each source, one in a hundred a tumour."""
    rng = np.random.default_rng(0)
    names = ("br35h/no/no{}.jpg", "sartaj/Training/no_tumor/{}.jpg", "sartaj/Testing/glioma_tumor/{}.jpg")
    for number in range(count):
        small = rng.integers(0, 256, (8, 8), np.uint8)
        image = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
        path = folder / names[2 if number % 100 == 99 else number % 2].format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)


def make(stage: str, raw: RawFolder, store: Store) -> None:
    """Make one stage from what is current in the store."""
    if stage == "images":
        version = build_manifest(raw, DATASET, ImagesConfig(), store)
    elif stage == "tiles":
        config = TilesConfig(form=FORM.name)
        version = build_tiles(store.current("brain_mri/images"), raw, DATASET, FORM, config, store, **HOW)
    else:
        version = build_proxies(store.current("brain_mri/tiles"), ProxyConfig(), store, **HOW)
    store.point(version)


def measure(stage: str, home: Path) -> dict[str, float]:
    """CPU and wall seconds of a stage in this process, and by how many MiB its memory grew at most."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.monotonic()
    make(stage, RawFolder(home / "raw"), Store(home / "store"))
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, "wall": wall, "memory": (after.ru_maxrss - before.ru_maxrss) / 1024}


def stored(folder: Path) -> float:
    """MiB below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def of_count(count: int, side: int, stages: Sequence[str]) -> dict[str, dict[str, float]]:
    """Stages at one count, each in a process of its own."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        draw(home / "raw", count, side)
        for stage in stages:
            line = [sys.executable, "-m", "benchmarks.growth", "--stage", stage, "--home", place]
            done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
            found[stage] = json.loads(done.stdout.splitlines()[-1])
            found[stage]["stored"] = stored(home / "store" / "versions" / "brain_mri" / stage)
    return found


def main() -> int:
    """Print the table; 1 if a stage grows faster than allowed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 4000, 16000], help="numbers of images")
    parser.add_argument("--side", type=int, default=64, help="px of an image")
    parser.add_argument("--stages", choices=STAGES, nargs="+", default=STAGES, help="the first ones, in their order")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.stage:
        print(json.dumps(measure(wanted.stage, wanted.home)))
        return 0
    found, worst = {}, 0.0
    for count in wanted.counts:
        found[count] = of_count(count, wanted.side, wanted.stages)
        print(count, json.dumps(found[count]), file=sys.stderr, flush=True)
    print("| stage | images | CPU, ms an image | minutes | stored, KiB an image | memory, MiB | exponent |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for stage in wanted.stages:
        growth = {
            more: math.log(found[more][stage]["cpu"] / found[less][stage]["cpu"]) / math.log(more / less)
            for less, more in pairwise(wanted.counts)
        }
        worst = max([worst, *growth.values()])
        for count in wanted.counts:
            one = found[count][stage]
            cells = [
                f"{1000 * one['cpu'] / count:.1f}",
                f"{one['wall'] / 60:.1f}",
                f"{1024 * one['stored'] / count:.1f}",
            ]
            cells += [f"{one['memory']:.0f}", f"{growth[count]:.2f}" if count in growth else ""]
            print(f"| {stage} | {count:,} | {' | '.join(cells)} |")
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
