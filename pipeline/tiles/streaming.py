"""Training data that do not fit into memory: whole shards, read ahead of the training, shuffled window by window.

Two windows are held at most: the one in use and the next one, which a thread reads. A window that holds everything
gives the batches of data in memory (`models.source.Order`).
"""

import logging
import math
import mmap
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.method import Batch
from models.source import Order, Source, TensorSource
from pipeline.errors import DatasetUnusable
from pipeline.forms.form import SCORED
from pipeline.store.shards import open_array, shard_rows, shards_of
from pipeline.store.versions import Version
from pipeline.tiles.loading import load_tiles, read_index, read_neutral, shrink

_log = logging.getLogger(__name__)

SHARE = 0.5
"""Of the memory of the machine or its control group, for training data; the rest is the network's."""
AT_ONCE = 64
"""Rows of a shard that are read at once: fewer take longer, more take memory."""
_COPIES = 7  # of what is read at once: compressed, decoded, joined, shrunk, and what the allocator keeps; measured
_SPARE = 0.1  # of the memory for training data: what the reader takes at times, pages of the kernel
_VALIDATION = 0.25  # most of the memory for training data that validation images take when these are read at once


class StreamSource:
    """The tiles of one split and canvas, read shard by shard; a block is a shard's rows among them."""

    def __init__(
        self,
        tiles: Version,
        proxies: Version,
        split: str,
        canvas: str,
        size: tuple[int, int],
        window: int,
        reader: ThreadPoolExecutor,
    ) -> None:
        self.size, self.window, self.tiles, self._reader = size, window, tiles, reader
        index = read_index(tiles)
        index = index[(index["split"] == split) & (index["canvas"] == canvas)]
        if index.empty or index["label"].any():
            kind = "holds abnormal images" if len(index) else f"has no tile on canvas {canvas}"
            raise DatasetUnusable(f"{tiles.asset}: split {split} {kind}; training takes normals")
        self.arrays = [open_array(tiles.path, name) for name in ("validity", "pixels")]
        self.arrays.append(open_array(proxies.path, "pixels"))
        self._rows = index["tile"].to_numpy()
        edges = [np.searchsorted(self._rows, edge).tolist() for edge in shards_of(self.arrays[0])]
        held = [(shard, low) for shard, (low, high) in zip(shards_of(self.arrays[0]), edges, strict=True) if low < high]
        self._shards = [shard for shard, _ in held]
        self.edges = (*(low for _, low in held), len(self._rows))
        self._read: dict[int, Future[TensorSource]] = {}  # blocks that are held, or will be

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return (len(self), self.arrays[1].shape[1], *self.size)

    @cached_property
    def bytes_per_row(self) -> int:
        """Memory of one image with its proxy and its two masks."""
        channels = sum(int(array.shape[1]) for array in self.arrays[1:])
        return (channels + 2) * self.size[0] * self.size[1]

    def order(self, batch_size: int, seed: int) -> Order:
        """Every epoch shuffled window by window."""
        return Order(len(self), batch_size, seed, edges=self.edges, window=self.window)

    def prepare(self, order: Order, step: int) -> None:
        """Begin to read the blocks that the steps from `step` on take; let go of all others."""
        self._hold(order.blocks(step))

    def keep(self) -> None:
        """Begin to read everything, and hold it until `close`."""
        self._hold(list(range(len(self._shards))))

    def close(self) -> None:
        """Let go of everything that was read."""
        self._hold([])

    def batch(self, rows: Tensor) -> Batch:
        """The images of those rows (int64), on the CPU; waits for blocks that are not read yet."""
        places = np.searchsorted(self.edges, rows.numpy(), side="right") - 1
        if not set(places) <= self._read.keys():  # nothing was prepared: rows in order, as for validation
            self._hold(list(range(places.min(), min(places.max() + 2, len(self._shards)))))
        found = [(self._read[block].result(), row - self.edges[block]) for block, row in zip(places, rows, strict=True)]
        names = ("images", "proxies", "valid", "scored")
        chosen = {name: torch.stack([getattr(held, name)[row] for held, row in found]) for name in names}
        return TensorSource(**chosen).batch(torch.arange(len(rows)))

    def _hold(self, blocks: list[int]) -> None:
        for block in self._read.keys() - set(blocks):
            self._read.pop(block).cancel()
        for block in blocks:
            if block not in self._read:
                self._read[block] = self._reader.submit(self._load, block)

    def _load(self, block: int) -> TensorSource:
        start, stop = self._shards[block]
        own, neutral = self._rows[self.edges[block] : self.edges[block + 1]], read_neutral(self.tiles.path)
        held, done = [_memory((len(own), *array.shape[1:-2], *self.size)) for array in self.arrays], 0
        for first in range(start, stop, AT_ONCE):
            inside = own[(own >= first) & (own < first + AT_ONCE)] - first
            whole = [np.asarray(array[first : min(first + AT_ONCE, stop)], np.uint8)[inside] for array in self.arrays]
            for target, values in zip(held, shrink(whole[0], whole[1:], self.size, neutral), strict=True):
                target[done : done + len(inside)] = values
            done += len(inside)
        scored = np.equal(held[0], SCORED, out=_memory(held[0].shape), casting="unsafe")
        return TensorSource.from_arrays(held[1], held[2], held[0], scored)


def _memory(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Bytes that go back to the system when they are let go of; the allocator would keep some."""
    return np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Normal tiles of one canvas, and the memory that they may take in each process."""

    tiles: Version
    proxies: Version
    canvas: str
    size: tuple[int, int]  # rows and columns, px
    memory: float  # bytes

    def window(self) -> int:
        """Rows of a window of the training tiles; 0 if these and the validation tiles fit into memory."""
        train, validation = self.streams(0)
        row, held = train.bytes_per_row, len(validation) * train.bytes_per_row
        if len(train) * row + held <= self.memory:
            return 0
        rows = min(AT_ONCE, shard_rows(train.arrays[0]))
        reading = _COPIES * rows * sum(math.prod(array.shape[1:]) for array in train.arrays)
        taken = reading + min(held, _VALIDATION * self.memory)
        left = (1 - _SPARE) * self.memory - taken
        two = 2 * row * int(np.diff(train.edges).max())  # a window is at least a shard
        if left < two:
            least, got = (taken + two) / (1 - _SPARE) / 1e9, self.memory / 1e9
            _log.warning("training will exceed its memory: expected at least %.2g GB, got %.2g", least, got)
        return max(1, int(left / 2 / row))

    def sources(self, window: int) -> tuple[Source, Source]:
        """Training and validation tiles: all in memory (window 0), or as much as the memory holds."""
        train, validation = self.streams(window)
        if not window:
            return self._read("train"), self._read("val")
        if len(validation) * validation.bytes_per_row <= _VALIDATION * self.memory:
            validation.keep()
        return train, validation

    def streams(self, window: int) -> tuple[StreamSource, StreamSource]:
        """Training and validation tiles, read when needed."""
        reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shards")  # one: each takes memory of its own
        given = self.canvas, self.size, window, reader
        return tuple(StreamSource(self.tiles, self.proxies, split, *given) for split in ("train", "val"))  # type: ignore[return-value]

    def _read(self, split: str) -> TensorSource:
        held = load_tiles(self.tiles, self.proxies, splits=[split], canvas=self.canvas, size=self.size)
        return TensorSource.from_arrays(held.pixels, held.proxies, held.validity, held.validity == SCORED)


def memory_share(gigabytes: float | None, processes: int) -> float:
    """Bytes for the training data of one of several processes; None: half of what the machine has."""
    return (SHARE * machine_memory() if gigabytes is None else gigabytes * 1e9) / processes


def machine_memory() -> int:
    """Bytes that this process may use: the memory of the machine, or the least limit of its control groups."""
    found, groups = [int(psutil.virtual_memory().total)], Path("/proc/self/cgroup")
    for line in groups.read_text().splitlines() if groups.is_file() else []:
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root, name = ("memory", "memory.limit_in_bytes") if kinds else (".", "memory.max")
        for folder in (PurePosixPath(path), *PurePosixPath(path).parents):
            limit = Path("/sys/fs/cgroup", root, folder.relative_to("/"), name)
            if limit.is_file() and limit.read_text().strip().isdigit():
                found.append(int(limit.read_text()))
    return min(found)
