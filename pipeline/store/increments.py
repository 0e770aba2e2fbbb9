"""Incremental builds of zarr arrays: rows of unchanged sources are copied from the previous version.

A *source* (an image with its masks, or a tile) is named by a content hash. Every version has a record, ``carry.json``:
the *recipe* (a hash of everything else that decides a row), the rows of each source or why it was refused, and the
digests of all rows. A build copies the rows of known sources if the recipes are equal.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.errors import REMEDY, NeverMaterialized, StoreCorrupt
from pipeline.store.files import FileHashes, write_file
from pipeline.store.shards import (
    RowDigests,
    copy_shard,
    create,
    open_array,
    row_blocks,
    row_digests,
    rows_at,
    run_tasks,
    same_layout,
    shard_file,
    write_rows,
)
from pipeline.store.verify import read_marker
from pipeline.store.versions import Store, fingerprint

FILE = "carry.json"
NEW = -1  # stands for the number of the previous row where a row has to be made
_FORMAT = 1  # of the file, part of every recipe
_log = logging.getLogger(__name__)

Make = Callable[[NDArray[np.intp]], Mapping[str, NDArray[np.uint8]]]
"""Makes the rows with these numbers (ascending) of all arrays of the new version."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What later builds can reuse of a version."""

    recipe: str
    sources: Mapping[str, tuple[int, int] | str] = field(default_factory=dict)  # key → first row, number; or why not
    digests: Sequence[RowDigests] = ()  # of every row
    folder: Path | None = field(default=None, compare=False)  # of the version; None: there is nothing to reuse

    def write(self, folder: Path) -> None:
        """Write the record of the version in ``folder``."""
        content = {"recipe": self.recipe, "sources": dict(self.sources), "digests": list(self.digests)}
        write_file(folder / FILE, json.dumps(content, indent=0, sort_keys=True).encode())

    @classmethod
    def read(cls, folder: Path) -> "Record | None":
        """The record of the version in ``folder``; None if it has none."""
        if not (folder / FILE).is_file():
            return None
        content = json.loads((folder / FILE).read_text())
        sources = {key: row if isinstance(row, str) else (row[0], row[1]) for key, row in content["sources"].items()}
        return cls(recipe=content["recipe"], sources=sources, digests=content["digests"], folder=folder)

    def first_row(self, source: str) -> int:
        """First row of a source, or ``NEW`` if it is unknown or was refused."""
        rows = self.sources.get(source)
        return rows[0] if isinstance(rows, tuple) else NEW


@dataclass(frozen=True, kw_only=True)
class Block:
    """One shard of the new version, from row ``start`` on."""

    start: int
    previous: tuple[int, ...]  # row numbers in the previous version, or NEW
    digests: tuple[RowDigests, ...]  # known digests; empty for new rows
    copied: Mapping[str, str]  # array's file of this shard → that of the equal shard of the previous version, or empty


def previous_record(store: Store, asset: str, *parts: object) -> Record:
    """Record of the current version; empty without one, if damaged, or if ``parts``, which decide a row, differ."""
    nothing, record = Record(recipe=fingerprint(_FORMAT, *parts)), None
    try:
        store.verify(version := store.current(asset))
        record = Record.read(version.path)
    except NeverMaterialized:
        pass
    except StoreCorrupt as error:
        _log.warning("rebuilding all rows of %s", str(error).removesuffix(REMEDY))
    return record if record is not None and record.recipe == nothing.recipe else nothing


def build_arrays(
    store: Store,
    work: Path,
    shapes: Mapping[str, tuple[int, ...]],
    attributes: Mapping[str, Any],
    *,
    shard: int,
    level: int,
    record: Record,
    previous: Sequence[int],
    make: Make,
    title: str,
    workers: int | None,
    scheduler_address: str | None = None,
) -> tuple[list[RowDigests], FileHashes]:
    """Write a zarr group with uint8 arrays of ``shapes`` (N, …) to ``work``/content.

    Gives the digests of its rows, and the hashes of copied files as the previous version has them: a copy that differs
    is then found as damaged. ``previous`` gives for each of the N rows its number in the version of ``record``, or
    ``NEW``. Each task writes one shard of ``shard`` rows (zstd ``level``). Shards finished before a kill are kept.
    Raises ``StoreCorrupt`` if a copied row differs from its record.
    """
    content, names = work / "content", list(shapes)
    if not (work / "laid-out").is_file():
        group = zarr.open_group(content, mode="w", attributes=dict(attributes))
        for name, shape in shapes.items():
            create(group, name, shape, shard=shard, level=level)
        write_file(work / "laid-out", b"")
    fill = partial(_fill, source=record.folder, content=content, records=work / "shards", names=names, make=make)
    blocks = _blocks(previous, record, content, names, shard)
    run = partial(run_tasks, title=title, workers=workers, scheduler_address=scheduler_address)
    if scheduler_address is not None and store.shared:
        from pipeline.store.workers import spread  # imports the client of object stores

        digests, known = spread(store, fill, blocks, work, run), FileHashes()
    else:
        digests, known = run(fill, blocks), _copied(blocks, record.folder)
    return [row for block in digests for row in block], known


def _copied(blocks: Sequence[Block], source: Path | None) -> FileHashes:
    """Hashes of the copied files by their new names, from the marker of the previous version."""
    if source is None:
        return {}
    files = read_marker(source)["files"]
    return {new: files[old] for block in blocks for new, old in block.copied.items() if old in files}


def _blocks(previous: Sequence[int], record: Record, content: Path, names: Sequence[str], shard: int) -> list[Block]:
    """One block per shard of the new version."""
    arrays = [(open_array(content, n), open_array(record.folder, n)) for n in names] if record.folder else []
    alike = all(same_layout(new, old) for new, old in arrays)
    ends = dict(row_blocks(len(record.digests), shard))
    blocks = []
    for start, stop in row_blocks(len(previous), shard):
        rows = tuple(previous[start:stop])
        whole = ends.get(rows[0]) == rows[0] + len(rows) and rows == tuple(range(rows[0], rows[0] + len(rows)))
        digests = tuple([] if row == NEW else record.digests[row] for row in rows)
        pairs = arrays if alike and whole else []
        copied = {shard_file(new, start): shard_file(old, rows[0]) for new, old in pairs}
        blocks.append(Block(start=start, previous=rows, digests=digests, copied=copied))
    return blocks


def _fill(
    block: Block, *, source: Path | None, content: Path, records: Path, names: Sequence[str], make: Make
) -> list[RowDigests]:
    """Write one shard of every array and record it, or copy it; digests of its rows."""
    if source is not None and block.copied:
        for new, old in block.copied.items():
            copy_shard(source / old, content / new)
        return list(block.digests)
    finished = records / f"{block.start:09d}.json"
    if finished.is_file():  # in an interrupted run
        done, rows = json.loads(finished.read_text()), slice(block.start, block.start + len(block.previous))
        there = [np.asarray(open_array(content, name)[rows], np.uint8) for name in done["arrays"]]
        if (digests := row_digests(*there)) == done["digests"]:
            return digests
    arrays = _rows(block, source, names, make)
    digests = row_digests(*arrays)
    pairs = zip(block.previous, digests, block.digests, strict=True)
    if wrong := [row for row, found, known in pairs if known not in ([], found)]:
        raise StoreCorrupt(f"{source}: rows {wrong[:3]} differ from {FILE}; delete the folder and build again")
    for name, array in zip(names, arrays, strict=True):
        write_rows(open_array(content, name, "r+"), block.start, array)
    write_file(finished, json.dumps({"arrays": list(names), "digests": digests}).encode())
    return digests


def _rows(block: Block, source: Path | None, names: Sequence[str], make: Make) -> list[NDArray[np.uint8]]:
    """The rows of a block, made or read from the previous version, one array per name."""
    rows = np.asarray(block.previous)
    new = rows == NEW
    made = make(block.start + np.flatnonzero(new)) if new.any() else {}
    if source is None or new.all():
        return [made[name] for name in names]
    arrays = []
    for name in names:
        previous = open_array(source, name)
        array = np.empty((len(new), *previous.shape[1:]), np.uint8)
        array[~new] = rows_at(previous, rows[~new])
        array[new] = made.get(name, 0)
        arrays.append(array)
    return arrays
