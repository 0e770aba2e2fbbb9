"""Rows of sharded zarr arrays, and parallel tasks that write them, each whole shards (one file each) only."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import dask
import numpy as np
import zarr
from dask import threaded
from numpy.typing import NDArray
from tqdm import tqdm
from tqdm.dask import TqdmCallback
from zarr.codecs import Crc32cCodec, ZstdCodec

from pipeline.store.verify import check_array

TOGETHER = 4096  # images of one task, at most, where an archive or folder is sent to it as a whole
RowDigests = list[str]  # hashes of one row: of its first array, its first two arrays, … , all of them
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def row_blocks(rows: int, shard: int) -> list[tuple[int, int]]:
    """(start, stop) rows of every shard, in order."""
    return [(start, min(start + shard, rows)) for start in range(0, rows, shard)]


def shard_rows(array: zarr.Array[Any]) -> int:
    """Rows per shard of an array; without shards, rows per chunk."""
    return int((array.shards or array.chunks)[0])


def shards_of(array: zarr.Array[Any]) -> list[tuple[int, int]]:
    """(start, stop) rows of every shard of an array, in order."""
    return row_blocks(array.shape[0], shard_rows(array))


def create(group: zarr.Group, name: str, shape: tuple[int, ...], *, shard: int, level: int) -> None:
    """Create a uint8 array of ``shape`` (N, …): one row per chunk, ``shard`` rows per shard; zstd ``level``, crc32c."""
    chunks, shards = (1, *shape[1:]), (shard, *shape[1:])
    codecs = ZstdCodec(level=level), Crc32cCodec()
    group.create_array(name, shape=shape, dtype="uint8", chunks=chunks, shards=shards, compressors=codecs)


class Rows(zarr.Array[Any]):
    """An array of a version: a damaged chunk raises ``StoreCorrupt`` with the name of its file."""

    def __getitem__(self, selection: Any) -> Any:
        """The rows of a selection."""
        try:
            return super().__getitem__(selection)
        except (ValueError, RuntimeError):  # a checksum, or what a decoder says
            check_array(_folder_of(self))
            raise


def _folder_of(array: zarr.Array[Any]) -> Path:
    return Path(array.store.root) / array.path  # type: ignore[attr-defined]  # of a store on disk


def open_array(folder: Path, name: str, mode: str = "r") -> zarr.Array[Any]:
    """One array of the zarr group in ``folder``; raises ``KeyError`` if it has no array of that name."""
    array = zarr.open_group(folder, mode=mode)[name]  # type: ignore[arg-type]  # "r" or "r+"
    if not isinstance(array, zarr.Array):
        raise KeyError(f"{folder}: expected an array {name!r}, got a group")
    return Rows(array.async_array)


def write_rows(array: zarr.Array[Any], start: int, block: NDArray[np.uint8]) -> None:
    """Write ``block`` from row ``start`` on; raises ``ValueError`` unless it covers whole shards."""
    rows, shard = array.shape[0], shard_rows(array)
    stop = start + len(block)
    if start % shard or (stop % shard and stop != rows) or stop > rows or not len(block):
        what = f"whole shards of {shard} rows (of {rows}), got rows {start} to {stop}"
        raise ValueError(f"{array.path}: expected {what}; tasks that share a shard overwrite each other")
    array[start:stop] = block


def row_digests(*blocks: NDArray[np.uint8]) -> list[RowDigests]:
    """For each row of ``blocks`` (n, …): SHA-256 of it in the first block, in the first two, … , in all."""
    rows = []
    for row in range(len(blocks[0])):
        state, digests = hashlib.sha256(), []
        for block in blocks:
            state.update(np.ascontiguousarray(block[row]).data)
            digests.append(state.hexdigest())
        rows.append(digests)
    return rows


def content_version(digests: Sequence[str], *facts: Any) -> str:
    """Data version: first 32 hex digits of the SHA-256 of row digests, in order, and JSON values."""
    text = "".join(digests) + json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def copy_shard(old: Path, new: Path) -> None:
    """Copy the file of a shard; of arrays of the ``same_layout``."""
    new.unlink(missing_ok=True)
    if old.is_file():  # zarr writes no file for a shard of zeros
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(old, new)


def same_layout(one: zarr.Array[Any], other: zarr.Array[Any]) -> bool:
    """Whether equal rows give equal shard files: the arrays differ at most in their numbers of rows."""
    a, b = ({**array.metadata.to_dict(), "shape": array.shape[1:]} for array in (one, other))
    return a == b


def rows_at(array: zarr.Array[Any], rows: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Rows of an array, in any order. Each run of consecutive rows is read at once."""
    out = np.empty((len(rows), *array.shape[1:]), np.uint8)
    cuts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    for low, high in pairwise(cuts):
        if low < high:
            out[low:high] = array[int(rows[low]) : int(rows[high - 1]) + 1]
    return out


def shard_file(array: zarr.Array[Any], row: int) -> str:
    """File, in the folder of its group, of the shard that holds ``row``; shards are cut along the rows only."""
    key = array.metadata.encode_chunk_key((row // shard_rows(array), *(0,) * (array.ndim - 1)))
    return f"{array.path}/{key}"


def run_tasks(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    *,
    title: str,
    workers: int | None = None,
    scheduler_address: str | None = None,
) -> list[_Result]:
    """Apply ``function`` to every item on dask threads or on a dask cluster; results in the order of the items.

    ``workers`` is the number of threads (None: one per core). The workers of a cluster must be able to import
    ``function`` and see the same files. Raises the first error of a task.
    """
    if scheduler_address is None:
        names = range(len(items), 0, -1)  # dask begins with the last name
        tasks = [
            dask.delayed(partial(function, item), pure=False, traverse=False)(dask_key_name=f"{name:09d}")
            for name, item in zip(names, items, strict=True)
        ]
        with TqdmCallback(desc=title):
            # dask would import `distributed` to look up the name "threads": half a second
            return list(dask.compute(*tasks, scheduler=threaded.get, num_workers=workers, optimize_graph=False))
    from distributed import Client, as_completed  # costs a second to import, and most runs use threads

    with Client(scheduler_address, set_as_default=False) as client, tqdm(total=len(items), desc=title) as bar:
        futures = client.map(function, items, pure=False)
        for future in as_completed(futures, loop=client.loop):
            future.result()
            bar.update()
        return list(client.gather(futures))
