"""Results of single images that later evaluations reuse: an unchanged image is not scored again.

A result is found by its key, a hash of all that decides it. Results are saved as they are made, so that an evaluation
that was killed goes on; a finished one holds them in ``carried.parquet``.
"""

import io
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numcodecs import Zstd  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pyarrow.parquet import ParquetWriter

from pipeline.errors import REMEDY, NeverMaterialized, StoreCorrupt
from pipeline.store.files import new_file
from pipeline.store.increments import Record
from pipeline.store.versions import Store, Version, fingerprint
from pipeline.tiles.loading import read_index

ZIP = b"PK"  # first bytes
FILE, PARTS = "carried.parquet", "parts"
PLACED = ["canvas_row", "canvas_col", "offset_row", "offset_col", "split", "group"]
"""Columns of the index that decide a score, beside the content of the tiles."""
SAVE_EVERY = 20.0
"""Seconds between two saves: what a kill costs at most, beside the image at hand."""
COLUMNS = pa.schema({"key": pa.string(), "values": pa.string(), "data": pa.binary()})
WRITTEN = 1 << 24
_log = logging.getLogger(__name__)

Make = Callable[[list[str]], Iterable[tuple[str, "Result"]]]
"""Makes the results of these images, one after the other."""


@dataclass(frozen=True)
class Result:
    """What was measured on one image."""

    values: Any = None  # JSON; NaN is allowed
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def packed(self) -> tuple[str, bytes]:
        """Values as text and arrays as the bytes of a compressed .npz file, empty without arrays."""
        if not self.arrays:
            return json.dumps(self.values), b""
        np.savez(buffer := io.BytesIO(), **self.arrays)  # type: ignore[arg-type]
        return json.dumps(self.values), bytes(Zstd(level=1).encode(buffer.getvalue()))

    @classmethod
    def unpacked(cls, values: str, data: bytes) -> Self:
        """Inverse of ``packed``."""
        if not data:
            return cls(json.loads(values))
        plain = data if data.startswith(ZIP) else Zstd().decode(data)  # versions before hold zip files
        with np.load(io.BytesIO(plain), allow_pickle=False) as arrays:
            return cls(json.loads(values), dict(arrays))


class Carried:
    """Results by key: those of the previous version, of an interrupted build, and of this one."""

    def __init__(self, work: Path, previous: Path | None = None) -> None:
        """``work`` is the build's folder, ``previous`` the folder of a version whose results may be reused."""
        self._parts, self._pending = work / PARTS, dict[str, tuple[str, bytes]]()
        self._known, self._used = dict[str, tuple[str, bytes]](), dict[str, None]()
        found = sorted(self._parts.glob("*.parquet"))
        for path in [*([previous / FILE] if previous and (previous / FILE).is_file() else []), *found]:
            self._known |= {key: (values, data) for key, values, data in pd.read_parquet(path).itertuples(index=False)}
        self._number, self._saved = len(found), time.monotonic()

    @classmethod
    def of(cls, work: Path, store: Store, asset: str) -> Self:
        """Results of the current version of the asset; none, with a warning, if it is damaged."""
        try:
            store.verify(version := store.current(asset))
        except NeverMaterialized:
            return cls(work)
        except StoreCorrupt as error:
            _log.warning("scoring all images of %s", str(error).removesuffix(REMEDY))
            return cls(work)
        return cls(work, version.path)

    def get(self, key: str) -> Result | None:
        """The result of a key; None if it has to be made."""
        if key not in self._known:
            return None
        self._used[key] = None
        return Result.unpacked(*self._known[key])

    def keep(self, prefix: str) -> None:
        """Pass on all results whose keys begin with ``prefix``, even if nothing uses them this time."""
        self._used |= dict.fromkeys(key for key in self._known if key.startswith(prefix))

    def put(self, key: str, result: Result) -> Result:
        """Keep a result; ``save`` writes it."""
        self._known[key] = self._pending[key] = result.packed()
        self._used[key] = None
        return result

    def save(self) -> None:
        """Write what is new to the build's folder."""
        self._saved = time.monotonic()
        if self._pending:
            write_results(self._parts / f"{self._number:06d}.parquet", self._pending)
            self._number += 1
            self._pending.clear()

    def write(self, folder: Path) -> None:
        """Write all results that this evaluation used or kept, for later ones."""
        write_results(folder / FILE, {key: self._known[key] for key in self._used})

    def write_some(self, path: Path, prefix: str) -> None:
        """Write all results whose keys begin with ``prefix`` to a table."""
        write_results(path, {key: packed for key, packed in self._known.items() if key.startswith(prefix)})

    def each(self, keys: Mapping[str, str], make: Make) -> dict[str, Result]:
        """Result of each image, by image id → key; those that are unknown are made and saved."""
        found = {image_id: self.get(key) for image_id, key in keys.items()}
        if missing := [image_id for image_id, result in found.items() if result is None]:
            for image_id, result in make(missing):
                found[image_id] = self.put(keys[image_id], result)
                if time.monotonic() - self._saved >= SAVE_EVERY:
                    self.save()
            self.save()
        return {image_id: result for image_id, result in found.items() if result is not None}


def write_results(path: Path, results: Mapping[str, tuple[str, bytes]]) -> None:
    """Write packed results by key as a table, about ``WRITTEN`` bytes at a time."""
    with new_file(path) as file, ParquetWriter(file, COLUMNS) as writer:
        rows, size = list[tuple[str, str, bytes]](), 0
        for key, (values, data) in results.items():
            rows.append((key, values, data))
            size += len(values) + len(data)
            if size >= WRITTEN:
                writer.write_table(_table(rows))
                rows, size = [], 0
        writer.write_table(_table(rows))


def _table(rows: list[tuple[str, str, bytes]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(dict(zip(COLUMNS.names, columns, strict=True)), schema=COLUMNS)


@dataclass(frozen=True)
class ImageDigests:
    """Digests of what is scored: content and place of the tiles of each image, with their proxies."""

    tiles: Version
    proxies: Version

    @cached_property
    def table(self) -> pd.DataFrame:
        """image_id, split, canvas, digest: one row an image and canvas, in the order of the index."""
        index = read_index(self.tiles)
        stores = (_row_digests(version, len(index)) for version in (self.tiles, self.proxies))
        rows = zip(*stores, index[PLACED].itertuples(index=False), strict=True)
        digests = ["/".join([tile, proxy, *map(str, place)]) for tile, proxy, place in rows]
        keyed = index[["image_id", "split", "canvas"]].assign(digest=digests)
        images = keyed.groupby(["image_id", "split", "canvas"], sort=False)["digest"].agg(list)
        return images.map(fingerprint).reset_index()

    def of(self, *splits: str, canvas: str | None = None) -> dict[str, str]:
        """Image id → digest of the images of some splits, on one canvas or on all."""
        table = self.table[self.table["split"].isin(splits)]
        if canvas is not None:
            table = table[table["canvas"] == canvas]
            return dict(zip(table["image_id"], table["digest"], strict=True))
        whole = table.groupby("image_id", sort=False)["digest"].agg(list).map(fingerprint)
        return dict(zip(whole.index, whole, strict=True))

    def keys(self, recipe: Any, *splits: str, canvas: str | None = None) -> dict[str, str]:
        """Image id → key of a result that the recipe and the image decide."""
        return {image_id: fingerprint(recipe, digest) for image_id, digest in self.of(*splits, canvas=canvas).items()}


def _row_digests(version: Version, count: int) -> Iterable[str]:
    """A digest of each of the rows of a store; those of a store without a record hold for this version alone."""
    record = Record.read(version.path)
    if record is None:
        return [f"{version.data_version}/{row}" for row in range(count)]
    return [row[-1] for row in record.digests]
