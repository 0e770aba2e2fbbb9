"""Reading raw files on workers of a cluster, to which they are sent through the bucket; the result is that of threads.

Files that follow one another are read by one task, which stores what they gave in part files, a batch each.
"""

import io
import json
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import Zstd  # type: ignore[import-untyped]
from numpy.typing import NDArray

from pipeline.data.datasets import Dataset
from pipeline.data.duplicates import Look
from pipeline.data.layouts import Candidate
from pipeline.data.raw import RawFolder
from pipeline.data.read.dicom_stored import is_dicom
from pipeline.data.reading import Found, Reading, read_file, read_files
from pipeline.data.walk import head_of
from pipeline.store.files import write_file
from pipeline.store.shards import TOGETHER, run_tasks
from pipeline.store.versions import Store, fingerprint

BATCH = 32  # files in a part file, which a worker holds in memory; does not affect the result
Batch = Sequence[Candidate]


def read_on_workers(
    raw: RawFolder, dataset: Dataset, store: Store, work: Path, scheduler_address: str, candidates: Sequence[Candidate]
) -> list[Found]:
    """As ``reading.read_files``; ``work`` is the folder of a build of the shared ``store``.

    What nobody has to read, or cannot be opened and therefore not be sent, is judged here.
    """
    from pipeline.store.workers import NEEDS, spread  # imports the client of object stores

    files = _Files(raw)
    sent = [each for each in candidates if _is_read(dataset, each) and files.open(each)]
    kept = {each.path for each in sent}
    left = [each for each in candidates if each.path not in kept]
    tasks = files.tasks(sent)
    there = partial(_read_batches, dataset=dataset, files=work / NEEDS, parts=work / "parts", root=str(raw.root))
    run = partial(run_tasks, title=f"{dataset.name}: reading", scheduler_address=scheduler_address)
    spread(store, there, tasks, work, run, [files.needed(task) for task in tasks])
    found = dict(zip([each.path for each in left], read_files(raw, dataset, left), strict=True))
    for batch in (batch for task in tasks for batch in task):
        given = _unpacked((work / "parts" / _part(batch)).read_bytes())
        found |= dict(zip([each.path for each in batch], given, strict=True))
    return [found[each.path] for each in candidates]


def _is_read(dataset: Dataset, candidate: Candidate) -> bool:
    """Whether it is not refused before a file is opened."""
    return not candidate.refused and candidate.key not in dataset.conflicts


class _Files:
    """Which files of a raw folder can be sent, and which of them together."""

    def __init__(self, raw: RawFolder) -> None:
        self._raw, self._dicom, self._closed = raw, set[str](), set[str]()
        for name, path in raw.files.items():
            try:
                if is_dicom(head_of(path)):
                    self._dicom.add(name)
            except OSError:
                self._closed.add(name)
        self._doubtful = {_folder(name) for name in self._closed}

    def open(self, candidate: Candidate) -> bool:
        """Whether all files that it takes can be opened."""
        for path in _paths(candidate):
            if self._series(path):
                if _folder(path) in self._doubtful:
                    return False
            elif not self._closed.isdisjoint(self._raw.needed(path)):
                return False
        return True

    def tasks(self, candidates: Sequence[Candidate]) -> list[list[Batch]]:
        """Batches of files; those of an archive, or of a folder with DICOM, share tasks, which fetch it once each."""
        tasks: list[list[Batch]] = []
        for together, group in groupby(candidates, key=lambda each: self._together(each.path)):
            files = list(group)
            batches: list[Batch] = [files[at : at + BATCH] for at in range(0, len(files), BATCH)]
            step = TOGETHER // BATCH if together else 1
            tasks += [batches[at : at + step] for at in range(0, len(batches), step)]
        return tasks

    def needed(self, task: Sequence[Batch]) -> dict[str, Path]:
        """The files on disk that a task reads, by name."""
        paths = [path for batch in task for candidate in batch for path in _paths(candidate)]
        places = {self._together(path) or path: path for path in paths}
        return {
            name: file
            for path in places.values()
            for name, file in self._raw.needed(path, beside=self._series(path)).items()
        }

    def _together(self, path: str) -> str:
        """Archive, or folder with DICOM, that is sent as a whole; empty for a file alone."""
        archive, inside, _ = path.partition("!/")
        return archive if inside else _folder(path) if self._series(path) else ""

    def _series(self, path: str) -> bool:
        """Whether other files of its folder may decide on its gray values."""
        return path in self._dicom


def _folder(path: str) -> str:
    return f"{path.rpartition('/')[0]}/"


def _paths(candidate: Candidate) -> tuple[str, ...]:
    """The image and its masks."""
    return candidate.path, *candidate.masks.values()


def _read_batches(batches: Sequence[Batch], *, dataset: Dataset, files: Path, parts: Path, root: str) -> None:
    """Read batches on a worker that has the files in a folder; reasons name them below ``root``, where they are."""
    raw = RawFolder(files)
    for batch in batches:
        found = [read_file(raw, dataset, candidate) for candidate in batch]
        told = [(some, [(path, reason.replace(str(files), root)) for path, reason in why]) for some, why in found]
        write_file(parts / _part(batch), _packed(told))


def _part(batch: Batch) -> str:
    return f"{fingerprint(batch)}.part"


def _packed(found: Sequence[Found]) -> bytes:
    """What files gave as bytes: rows and reasons as JSON, and all looks."""
    head = [{"rows": [reading.row for reading in some], "problems": problems} for some, problems in found]
    arrays: dict[str, NDArray[Any]] = {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)}
    looks = [reading.look for some, _ in found for reading in some if reading.look is not None]
    if looks:
        arrays |= {name: np.stack([getattr(look, name) for look in looks]) for name in Look._fields}
    np.savez(buffer := io.BytesIO(), **arrays)  # type: ignore[arg-type]
    return bytes(Zstd(level=1).encode(buffer.getvalue()))


def _unpacked(data: bytes) -> list[Found]:
    """Inverse of ``_packed``."""
    with np.load(io.BytesIO(Zstd().decode(data)), allow_pickle=False) as arrays:
        head = json.loads(arrays["head"].tobytes())
        searched = Look._fields[0] in arrays
        looks = zip(*(arrays[name] for name in Look._fields), strict=True) if searched else None
    return [
        (
            [Reading(row, None if looks is None else Look(*next(looks))) for row in each["rows"]],
            [(path, reason) for path, reason in each["problems"]],
        )
        for each in head
    ]
