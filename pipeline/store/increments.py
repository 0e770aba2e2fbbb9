"""What a version can take over from the one before it, so that k changed sources cost k and not N.

A *source* is what rows are made of: an image with its masks for tiles, a tile for proxies; its key is a content hash.
Beside its arrays a version keeps a record, ``carry.json``: the *recipe* (a hash of all but the sources' content that
decides a row), the rows each source gave or why it was refused, and every row's digest. The next version of the same
recipe takes rows of known sources over and makes the rest. Nothing to take over is the ordinary full build.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import NeverMaterialized, StoreCorrupt
from pipeline.store.shards import RowDigests, copy_shard, fill_shard, open_array, row_blocks, rows_at, same_layout
from pipeline.store.versions import Store, fingerprint, write_file

FILE = "carry.json"
MADE = -1
"""In place of an earlier row: this row is made anew."""
_FORMAT = 1  # of the file, part of every recipe
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What of one version can be taken over."""

    recipe: str
    sources: Mapping[str, tuple[int, int] | str]  # key → first row and number of rows, or why it was refused
    digests: Sequence[RowDigests]  # of every row

    def write(self, folder: Path) -> None:
        """Write the record of the version in ``folder``."""
        content = {"recipe": self.recipe, "sources": dict(self.sources), "digests": list(self.digests)}
        write_file(folder / FILE, json.dumps(content, indent=0, sort_keys=True).encode())

    @classmethod
    def read(cls, folder: Path) -> "Record | None":
        """The record in ``folder``; None for a version from before there were records."""
        if not (folder / FILE).is_file():
            return None
        content = json.loads((folder / FILE).read_text())
        sources = {key: row if isinstance(row, str) else (row[0], row[1]) for key, row in content["sources"].items()}
        return cls(recipe=content["recipe"], sources=sources, digests=content["digests"])


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """The version to take over from: its folder (None: there is none) and its record."""

    folder: Path | None
    record: Record

    def first_row(self, source: str) -> int:
        """First row that a source gave, or ``MADE`` where it is not known."""
        rows = self.record.sources.get(source)
        return rows[0] if isinstance(rows, tuple) else MADE


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows ``start`` … ``stop`` of the new version, one shard, and where each of them comes from."""

    start: int
    stop: int
    origins: tuple[int, ...]  # row of the earlier version, or MADE
    digests: tuple[RowDigests, ...]  # of the rows taken over; empty for the others
    made_before: int  # how many rows before ``start`` are made anew
    copied: bool  # the rows are one whole shard of the earlier version, stored in the same way

    @property
    def new(self) -> NDArray[np.bool_]:
        """Which rows are made anew."""
        return np.equal(self.origins, MADE)


def recipe(*parts: object) -> str:
    """Hash of all that decides a row apart from its source; JSON values and dataclasses."""
    return fingerprint(_FORMAT, *parts)


def earlier_version(store: Store, asset: str, recipe: str) -> Earlier:
    """The asset's current version, if it was made by the same recipe and every file of it is what it was."""
    nothing = Earlier(folder=None, record=Record(recipe=recipe, sources={}, digests=()))
    try:
        version = store.current(asset)
        store.verify(version)
    except NeverMaterialized:
        return nothing
    except StoreCorrupt as error:
        _log.warning("%s: all of it is made anew, for the current version is damaged: %s", asset, error)
        return nothing
    record = Record.read(version.path)
    return nothing if record is None or record.recipe != recipe else Earlier(folder=version.path, record=record)


def plan_blocks(
    origins: Sequence[int], earlier: Earlier, folder: Path, names: Sequence[str], shard: int
) -> list[Block]:
    """One block a shard of the laid-out arrays ``names`` in ``folder``; ``origins`` has one entry a row."""
    alike = earlier.folder is not None and all(
        same_layout(open_array(earlier.folder, name), open_array(folder, name)) for name in names
    )
    ends = dict(row_blocks(len(earlier.record.digests), shard))
    made = np.concatenate([[0], np.cumsum(np.asarray(origins) == MADE)])
    blocks = []
    for start, stop in row_blocks(len(origins), shard):
        part = tuple(origins[start:stop])
        whole = ends.get(part[0]) == part[0] + len(part) and part == tuple(range(part[0], part[0] + len(part)))
        digests = tuple([] if row == MADE else earlier.record.digests[row] for row in part)
        block = Block(
            start=start,
            stop=stop,
            origins=part,
            digests=digests,
            made_before=int(made[start]),
            copied=alike and whole,
        )
        blocks.append(block)
    return blocks


def fill_block(
    block: Block,
    *,
    earlier: Path | None,
    folder: Path,
    records: Path,
    names: Sequence[str],
    make: Callable[[Block], Mapping[str, NDArray[np.uint8]]],
) -> list[RowDigests]:
    """Write one shard of the arrays ``names``; the digests of its rows.

    ``make`` gives the block's new rows, in order, and is called only where there are some. Raises ``StoreCorrupt``
    where rows taken over are not what the earlier version's record says.
    """
    if block.copied and earlier is not None:
        where = {"source": earlier, "first": block.origins[0], "names": names, "digests": block.digests}
        return copy_shard(folder, records, block.start, block.stop, **where)  # type: ignore[arg-type]

    def rows() -> Mapping[str, NDArray[np.uint8]]:
        new = block.new
        made = make(block) if new.any() else {}
        if earlier is None or new.all():
            return made
        filled = {}
        for name in names:
            array = open_array(earlier, name)
            filled[name] = np.empty((len(new), *array.shape[1:]), np.uint8)
            filled[name][~new] = rows_at(array, np.asarray(block.origins)[~new])
            if made:
                filled[name][new] = made[name]
        return filled

    digests = fill_shard(folder, records, block.start, block.stop, make=rows)
    rows_found = zip(block.origins, digests, block.digests, strict=True)
    wrong = [row for row, found, known in rows_found if known not in ([], found)]
    if wrong:
        raise StoreCorrupt(f"{earlier}: rows {wrong[:3]} are not what {FILE} says; delete the folder and build again")
    return digests
