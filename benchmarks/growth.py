"""How time and memory of images, tiles and proxies grow with the number of images.

    OMP_NUM_THREADS=1 python -m benchmarks.growth [--counts 1000 4000 16000] [--stages images tiles proxies]

Draws that many small images in the layout of a data set and makes each stage in a process of its own, on one thread.
``oct`` (default) is split by patient; ``--dataset brain_mri`` by near-duplicates, for which all pairs are compared.
Prints CPU time, size of the store and peak memory (the process less its imports), and the exponent of growth since the
count before. Exit status 1 if an exponent exceeds 1.05.
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

FORM = FORMS["plain"]
TRAINED = 128  # rows and columns of most canvases of `quick`, which its proxies have too
LAYOUTS = {  # data set → names of normal images, by their number modulo how many there are, and of abnormal ones
    "brain_mri": (("br35h/no/no{}.jpg", "sartaj/Training/no_tumor/{}.jpg"), "sartaj/Testing/glioma_tumor/{}.jpg"),
    "oct": (("OCT2017/train/NORMAL/NORMAL-{}-1.jpeg",), "OCT2017/test/DRUSEN/DRUSEN-{}-1.jpeg"),
}
STAGES = ("images", "tiles", "proxies")
ALLOWED = 1.05
HOW = {"code_version": "0", "workers": 1}


def draw(folder: Path, dataset: str, count: int, side: int) -> None:
    """Smooth noise, every image another; one in a hundred is abnormal."""
    rng = np.random.default_rng(0)
    normals, abnormal = LAYOUTS[dataset]
    for number in range(count):
        small = rng.integers(0, 256, (8, 8), np.uint8)
        image = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
        name = abnormal if number % 100 == 99 else normals[number % len(normals)]
        path = folder / name.format(100000 + number)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)


def make(stage: str, name: str, raw: RawFolder, store: Store) -> None:
    """Make one stage from what is current in the store."""
    dataset = DATASETS[name]
    if stage == "images":
        version = build_manifest(raw, dataset, ImagesConfig(), store)
    elif stage == "tiles":
        config = TilesConfig(form=FORM.name)
        version = build_tiles(store.current(f"{name}/images"), raw, dataset, FORM, config, store, **HOW)
    else:
        config = ProxyConfig(sizes=dict.fromkeys(FORM.canvases, (TRAINED, TRAINED)))
        version = build_proxies(store.current(f"{name}/tiles"), config, store, **HOW)
    store.point(version)


def measure(stage: str, name: str, home: Path) -> dict[str, float]:
    """CPU and wall seconds of a stage in this process, and by how many MiB its memory grew at most."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.monotonic()
    make(stage, name, RawFolder(home / "raw"), Store(home / "store"))
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, "wall": wall, "memory": (after.ru_maxrss - before.ru_maxrss) / 1024}


def stored(folder: Path) -> float:
    """MiB below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def of_count(count: int, name: str, side: int, stages: Sequence[str]) -> dict[str, dict[str, float]]:
    """Stages at one count, each in a process of its own."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        draw(home / "raw", name, count, side)
        for stage in stages:
            line = [sys.executable, "-m", "benchmarks.growth", "--stage", stage, "--home", place, "--dataset", name]
            done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
            found[stage] = json.loads(done.stdout.splitlines()[-1])
            found[stage]["stored"] = stored(home / "store" / "versions" / name / stage)
    return found


def main() -> int:
    """Print the table; 1 if a stage grows faster than allowed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 4000, 16000], help="numbers of images")
    parser.add_argument("--dataset", choices=LAYOUTS, default="oct")
    parser.add_argument("--side", type=int, default=64, help="px of an image")
    parser.add_argument("--stages", choices=STAGES, nargs="+", default=STAGES, help="the first ones, in their order")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.stage:
        print(json.dumps(measure(wanted.stage, wanted.dataset, wanted.home)))
        return 0
    found, worst = {}, 0.0
    for count in wanted.counts:
        found[count] = of_count(count, wanted.dataset, wanted.side, wanted.stages)
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
