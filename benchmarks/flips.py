"""Single flipped bits in published versions: each one noticed on reading, or harmless by content.

    python -m benchmarks.flips [--home HOME] [--count 1000] [--seed 0]

HOME (default: `$PROXYANO_HOME`) holds a made lane, such as that of `proxyano run`; nobody else may use it meanwhile.
The kinds of files take turns; file and bit are drawn evenly. After each flip the version is opened and read as a step
does, then the file is restored. Noticed: `StoreCorrupt` with the file's name. Harmless: the values read are the same.
Exits 1 if a flip is neither.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline.errors import StoreCorrupt
from pipeline.store.shards import open_array, shard_rows
from pipeline.store.survey import current_assets
from pipeline.store.verify import MARKER, is_chunks
from pipeline.store.versions import Store
from pipeline.wiring.settings import Settings

POINTER, CHUNKS = "pointer", "zarr chunks"
NOTICED, HARMLESS, SILENT, OTHER = "noticed", "harmless", "silent", "another file named"
NAMES = {MARKER: "marker", "zarr.json": "zarr metadata"}


def kind_of(name: str) -> str:
    """Kind of a file, by its name in the version."""
    last = name.rpartition("/")[2]
    return CHUNKS if is_chunks(name) else NAMES.get(last, last.rpartition(".")[2])


def files_of(store: Store) -> dict[str, list[tuple[str, Path]]]:
    """Kind → asset and path of every file of the current versions, and of the pointers to them."""
    found: dict[str, list[tuple[str, Path]]] = {}
    for asset in current_assets(store):
        found.setdefault(POINTER, []).append((asset, (store.root / "current" / asset).with_suffix(".json")))
        version = store.current(asset)
        for name in (MARKER, *store.marker(version)["files"]):
            if (version.path / name).stat().st_size:
                found.setdefault(kind_of(name), []).append((asset, version.path / name))
    return found


def content(store: Store, asset: str, kind: str, path: Path) -> object:
    """What a step gets of a file when it opens the version and reads it."""
    version = store.current(asset)
    if kind == CHUNKS:
        folder, _, place = path.as_posix().rpartition("/c/")
        array = open_array(Path(folder).parent, Path(folder).name)
        start = int(place.partition("/")[0]) * shard_rows(array)
        return np.asarray(array[start : start + shard_rows(array)]).tobytes()
    return (version, store.marker(version)) if kind in (POINTER, NAMES[MARKER]) else path.read_bytes()


@contextmanager
def flipped(path: Path, rng: np.random.Generator) -> Iterator[None]:
    """A file with one other bit."""
    original = path.read_bytes()
    changed = bytearray(original)
    changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(changed)
    try:
        yield
    finally:
        path.write_bytes(original)


def outcome(store: Store, asset: str, kind: str, path: Path, rng: np.random.Generator) -> str:
    """Flip a bit of a file and read it."""
    before = content(store, asset, kind, path)
    with flipped(path, rng):
        try:
            after = content(store, asset, kind, path)
        except StoreCorrupt as error:
            return NOTICED if str(asset if kind == POINTER else path) in str(error) else OTHER
    return HARMLESS if after == before else SILENT


def flips(store: Store, count: int, rng: np.random.Generator) -> pd.DataFrame:
    """Outcomes of ``count`` flips, a row a kind of file."""
    files = files_of(store)
    rows = {kind: Counter({"files": len(found)}) for kind, found in sorted(files.items())}
    for number in tqdm(range(count), desc="flips"):
        kind = list(rows)[number % len(rows)]
        asset, path = files[kind][int(rng.integers(len(files[kind])))]
        rows[kind].update(["flips", outcome(store, asset, kind, path, rng)])
    columns = ["files", "flips", NOTICED, HARMLESS, SILENT, OTHER]
    return pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns).fillna(0).astype(int)


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Settings().home)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    table = flips(Store(asked.home / "stores"), asked.count, np.random.default_rng(asked.seed))
    table.loc["all"] = table.sum()
    print(table.to_markdown())
    missed = int(table.loc["all", "flips"] - table.loc["all", [NOTICED, HARMLESS]].sum())
    print("every one noticed or harmless" if not missed else f"{missed} NOT noticed, or not by the file's name")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
