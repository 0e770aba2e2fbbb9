"""Rows of sharded zarr arrays: written as whole shards only, each finished shard recorded with its content's hash.

A zarr shard is one file; two tasks that write parts of it overwrite each other without an error. So a task gets
whole shards (the last one may be short), which ``write_rows`` checks.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import dask
import numpy as np
import zarr
from numpy.typing import NDArray
from tqdm import tqdm
from tqdm.dask import TqdmCallback
from zarr.codecs import ZstdCodec

from pipeline.store.versions import write_file

RowDigests = list[str]
"""Hashes of one row: over its first array, its first two, … , all of them."""
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def row_blocks(rows: int, shard: int) -> list[tuple[int, int]]:
    """First and one-past-last row of every shard, in order."""
    return [(start, min(start + shard, rows)) for start in range(0, rows, shard)]


def create(group: zarr.Group, name: str, shape: tuple[int, ...], *, shard: int, level: int) -> None:
    """A uint8 array of ``shape`` (N, …): one row a chunk, ``shard`` rows a shard, zstd ``level``."""
    group.create_array(
        name,
        shape=shape,
        dtype="uint8",
        chunks=(1, *shape[1:]),
        shards=(shard, *shape[1:]),
        compressors=ZstdCodec(level=level),
    )


def open_array(folder: Path, name: str, mode: str = "r") -> zarr.Array[Any]:
    """One array of a store's zarr group; raises ``KeyError`` where the group holds none of that name."""
    array = zarr.open_group(folder, mode=mode)[name]  # type: ignore[arg-type]  # "r" or "r+"
    if not isinstance(array, zarr.Array):
        raise KeyError(f"{folder}: expected an array {name!r}, got a group")
    return array


def write_rows(array: zarr.Array[Any], start: int, block: NDArray[np.uint8]) -> None:
    """Write rows ``start`` … of an array; raises ``ValueError`` unless they are whole shards."""
    rows, shard = array.shape[0], (array.shards or array.chunks)[0]
    stop = start + len(block)
    if start % shard or (stop % shard and stop != rows) or stop > rows or not len(block):
        what = f"whole shards of {shard} rows (of {rows}), got rows {start} to {stop}"
        raise ValueError(f"{array.path}: expected {what}: a part of a shard would be overwritten by its neighbour")
    array[start:stop] = block


def row_digests(*blocks: NDArray[np.uint8]) -> list[RowDigests]:
    """For each row of the ``blocks`` (n, …): SHA-256 over the first block, over the first two, … , over all."""
    rows = []
    for row in range(len(blocks[0])):
        state, digests = hashlib.sha256(), []
        for block in blocks:
            state.update(np.ascontiguousarray(block[row]).data)
            digests.append(state.hexdigest())
        rows.append(digests)
    return rows


def content_version(digests: Sequence[str], *facts: Any) -> str:
    """Data version: SHA-256 (first 32 hex digits) over row digests in order and JSON-able facts."""
    state = hashlib.sha256("".join(digests).encode())
    state.update(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode())
    return state.hexdigest()[:32]


def fill_shard(
    folder: Path, records: Path, start: int, stop: int, *, make: Callable[[], Mapping[str, NDArray[np.uint8]]]
) -> list[RowDigests]:
    """Write rows ``start`` … ``stop`` of the arrays that ``make`` gives and record them; row digests.

    A shard recorded by an earlier run is kept if it still holds what the record says, and made again otherwise.
    """
    if (kept := _kept(folder, records, start, stop)) is not None:
        return kept
    made = make()
    for name, block in made.items():
        write_rows(open_array(folder, name, "r+"), start, block)
    return _recorded(records, start, list(made), row_digests(*made.values()))


def copy_shard(
    folder: Path,
    records: Path,
    start: int,
    stop: int,
    *,
    source: Path,
    first: int,
    names: Sequence[str],
    digests: Sequence[RowDigests],
) -> list[RowDigests]:
    """Like ``fill_shard``, by copying the files of the shard of ``source`` whose first row is ``first``.

    The arrays ``names`` must have the ``same_layout`` in both and the shards as many rows; ``digests`` are known.
    """
    if (kept := _kept(folder, records, start, stop)) is not None:
        return kept
    for name in names:
        target = _shard_file(folder, name, start)
        target.unlink(missing_ok=True)
        if (origin := _shard_file(source, name, first)).is_file():  # zarr writes no file for a shard of zeros
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin, target)
    return _recorded(records, start, list(names), list(digests))


def same_layout(one: zarr.Array[Any], other: zarr.Array[Any]) -> bool:
    """Whether equal rows give equal shard files: everything but the number of rows agrees."""
    a, b = ({**array.metadata.to_dict(), "shape": array.shape[1:]} for array in (one, other))
    return a == b


def rows_at(array: zarr.Array[Any], rows: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Rows of an array in any order; each run of neighbours is read at once, and no more than them."""
    out = np.empty((len(rows), *array.shape[1:]), np.uint8)
    cuts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    for low, high in pairwise(cuts):
        if low < high:
            out[low:high] = _read(array, int(rows[low]), int(rows[high - 1]) + 1)
    return out


def _kept(folder: Path, records: Path, start: int, stop: int) -> list[RowDigests] | None:
    """Row digests of a shard that an earlier run recorded and that still holds what the record says."""
    record = records / f"{start:09d}.json"
    if not record.is_file():
        return None
    done = json.loads(record.read_text())
    digests: list[RowDigests] = done["digests"]
    found = row_digests(*(_read(open_array(folder, name), start, stop) for name in done["arrays"]))
    return digests if found == digests else None


def _recorded(records: Path, start: int, names: list[str], digests: list[RowDigests]) -> list[RowDigests]:
    write_file(records / f"{start:09d}.json", json.dumps({"arrays": names, "digests": digests}).encode())
    return digests


def _shard_file(folder: Path, name: str, row: int) -> Path:
    """File of the shard in which ``row`` lies; shards are cut along the rows only."""
    array = open_array(folder, name)
    shard = (array.shards or array.chunks)[0]
    return folder / name / array.metadata.encode_chunk_key((row // shard, *(0,) * (array.ndim - 1)))


def run_tasks(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    *,
    title: str,
    progress: bool,
    workers: int | None = None,
    scheduler_address: str | None = None,
) -> list[_Result]:
    """``function`` of every item, in order, with a progress bar: on dask threads or on a distributed cluster.

    ``workers`` is the number of threads (None: one a core). A cluster's workers must be able to import ``function``
    and see the same files. The first error of a task is raised; finished tasks keep what they have written.
    """
    if scheduler_address is not None:
        return _run_distributed(function, items, title, progress, scheduler_address)
    tasks = [
        dask.delayed(partial(function, item), pure=False, traverse=False)(dask_key_name=f"{number:09d}")
        for number, item in zip(range(len(items), 0, -1), items, strict=True)  # dask begins with the last name
    ]
    with TqdmCallback(desc=title, disable=not progress):
        return list(dask.compute(*tasks, scheduler="threads", num_workers=workers, optimize_graph=False))


def _run_distributed(
    function: Callable[[_Item], _Result], items: Sequence[_Item], title: str, progress: bool, address: str
) -> list[_Result]:
    from distributed import Client, as_completed  # costs a second to import, and most runs use threads

    with Client(address, set_as_default=False) as client:
        futures = client.map(function, items, pure=False)
        with tqdm(total=len(items), desc=title, disable=not progress) as bar:
            for future in as_completed(futures, loop=client.loop):
                future.result()
                bar.update()
        results: list[_Result] = client.gather(futures)
        return results


def _read(array: zarr.Array[Any], start: int, stop: int) -> NDArray[np.uint8]:
    return np.asarray(array[start:stop], np.uint8)
