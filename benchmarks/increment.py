"""What one changed image of many costs, against making all tiles and proxies: seconds and their ratio.

    [PROXYANO_RAW=…] python -m benchmarks.increment [--images 1000]

Copies that many OCT scans of PROXYANO_RAW (draws them where it is not set) to a temporary folder, makes tiles and
proxies of all, mirrors one image, makes both again from there, and once more from nothing in another store. One
thread, so that the ratio is one of work. Exit status 1 where an increment costs more than 5 % of the full build or
gives another data version.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.data.datasets import DATASETS
from pipeline.data.decode import decode_image
from pipeline.data.manifest import build_manifest
from pipeline.data.raw import RawFolder
from pipeline.data.sample import drawings as phantoms
from pipeline.data.sample.files import jpeg
from pipeline.data.splits import ImagesConfig
from pipeline.forms import FORMS
from pipeline.store.versions import Store, Version
from pipeline.tiles.proxies import build_proxies
from pipeline.tiles.proxy_kinds import ProxyConfig
from pipeline.tiles.tiles import TilesConfig, build_tiles
from pipeline.wiring.settings import Settings

TARGET = 0.05
OCT = DATASETS["oct"]
FORM = FORMS["bruch_membrane"]
HOW = {"code_version": "0", "workers": 1}
Timed = tuple[Version, float]


def copy_scans(source: Path, folder: Path, count: int) -> None:
    """Copy scans, evenly spread over the download."""
    raw = RawFolder(source)
    found = [candidate.path for candidate in OCT.scan(raw)]
    for place in np.unique(np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)):
        path = folder / found[place].replace("!/", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw.read(found[place]))


def draw_scans(folder: Path, count: int) -> None:
    """Draw scans in the official layout: nine of ten are training normals."""
    rng = np.random.default_rng(0)
    for number in range(count):
        abnormal = number % 10 == 9
        scan = phantoms.oct_scan(rng, 512, "DRUSEN" if abnormal else "normal")
        path = folder / "OCT2017" / ("test/DRUSEN" if abnormal else "train/NORMAL")
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{path.name}-{100000 + number}-1.jpeg").write_bytes(jpeg(scan))


def change_one(folder: Path) -> None:
    """Mirror the middle one of the training normals."""
    files = sorted(path for path in folder.rglob("*.jp*g") if path.parent.name == "NORMAL" and "train" in path.parts)
    chosen = files[len(files) // 2]
    pixels = decode_image(RawFolder(chosen.parent).read(chosen.name))
    chosen.write_bytes(jpeg(np.ascontiguousarray(pixels[:, ::-1])))


def timed(build: Callable[[], Version], store: Store) -> Timed:
    """A build that becomes the current version, and its wall time in seconds."""
    start = time.perf_counter()
    version = build()
    taken = time.perf_counter() - start
    store.point(version)
    return version, taken


def make(folder: Path, store: Store) -> dict[str, Timed]:
    """Tiles and proxies of the scans in ``folder``, from what is current in ``store``."""
    raw = RawFolder(folder)
    images = build_manifest(raw, OCT, ImagesConfig(), store)
    config = TilesConfig(form=FORM.name)
    tiles = timed(lambda: build_tiles(images, raw, OCT, FORM, config, store, **HOW), store)
    return {"tiles": tiles, "proxies": timed(lambda: build_proxies(tiles[0], ProxyConfig(), store, **HOW), store)}


def main() -> int:
    """Print the table; 0 where both ratios reach the target and the data versions agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="number of scans (default 1000)")
    count = parser.parse_args().images
    settings = Settings()
    source = None if settings.raw is None else settings.raw_root
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "raw"
        if source is None:
            draw_scans(folder, count)
        else:
            copy_scans(source / OCT.name, folder, count)
        store = Store(Path(home) / "store")
        make(folder, store)
        change_one(folder)
        increment = make(folder, store)
        full = make(folder, Store(Path(home) / "other"))
        images = increment["tiles"][0].meta["images"]
    good = True
    print(
        f"| 1 of {images} {'drawn' if source is None else 'real'} OCT images changed | full, s | increment, s | ratio |"
    )
    print("|---|---|---|---|")
    for stage, (version, taken) in full.items():
        ratio = increment[stage][1] / taken
        same = increment[stage][0].data_version == version.data_version
        good = good and same and ratio <= TARGET
        print(
            f"| {stage} | {taken:.2f} | {increment[stage][1]:.2f} | {ratio:.1%} |{'' if same else ' versions differ'}"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
