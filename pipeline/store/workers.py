"""Tasks of a build on workers of a cluster that share no folder with whoever builds.

A task reads versions and writes files of the build's work folder. A worker fetches the versions to a folder of its own,
and stores what it wrote in the bucket, then a record of it, so that no task is done twice: not when its worker dies
afterwards, nor in the next run after a kill. The builder fetches the files.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.store import cache
from pipeline.store.files import FileHashes, file_names, hash_file
from pipeline.store.remote import FILES
from pipeline.store.shared import AT_ONCE, SharedStore
from pipeline.store.verify import MARKER, is_chunks
from pipeline.store.versions import Store, Version

_log = logging.getLogger(__name__)
NOT_READ = ("shards/", "parts/")  # folders of a build for what finished tasks gave, which come after all else
NEEDS = "needs"  # folder, below the work folder of a task on a worker, with files that lie outside the store
Done = dict[str, Any]  # ``result``, and the hash of each of the task's ``files``
Named = tuple[str, Any, FileHashes]  # a task: its name, its item, the files it needs
Run = Callable[[Callable[[Named], Done], Sequence[Named]], list[Done]]


@dataclass(frozen=True)
class Place:
    """A file or folder of a version, or of the work folder if ``asset`` is empty."""

    asset: str
    data_version: str
    inner: str  # below that folder


@dataclass(frozen=True)
class Stored:
    """A version as a whole."""

    asset: str
    data_version: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task as it is sent to a worker: ``function`` has a ``Place`` for a path, ``Stored`` for a version."""

    function: Callable[..., Any]
    url: str
    most: float | None  # bytes of versions that a worker keeps
    work: str  # the build: prefix of the records
    layout: Mapping[str, bytes]  # files of the work folder that every task reads

    def __call__(self, named: Named) -> Done:
        """Do the task of this name, or find what it gave before."""
        from distributed import get_worker

        name, item, needs = named
        store = SharedStore(Path(get_worker().local_directory) / "stores", self.url, most=self.most)
        record = f"{self.work}/{name}.json"
        if (found := store.remote.read(record)) is not None:
            return dict(json.loads(found[0]))
        store.root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=store.root) as place:
            folder = Path(place)
            for file, content in self.layout.items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_bytes(content)
            for file, wanted in needs.items():
                store.remote.download(wanted, folder / NEEDS / file, f"{self.work}/files")
            try:
                result = _here(self.function, store, folder)(item)
            finally:
                cache.keep([])
            made = [file for file in file_names(folder) if file not in self.layout and not file.startswith(f"{NEEDS}/")]
            files = {file: hash_file(folder / file) for file in made}
            for file, wanted in files.items():
                store.remote.upload(folder / file, wanted, _below(file, self.work))
        done = {"result": result, "files": files}
        store.remote.write(record, json.dumps(done).encode())
        return done


def spread(
    store: Store,
    function: Callable[[Any], Any],
    items: Sequence[Any],
    work: Path,
    run: Run,
    needs: Sequence[Mapping[str, Path]] = (),
) -> list[Any]:
    """Results, as JSON values, of ``function`` for every item, by ``run``; what it wrote is in ``work`` afterwards.

    ``function`` is a ``partial`` whose versions and paths are of the shared ``store``, or paths below ``work``.
    ``needs`` are files outside the store for each item: name below ``work``/NEEDS, where a worker has them, and path
    here. One that cannot be read is named and missing there.
    """
    assert isinstance(store, SharedStore)
    names = [name for name in file_names(work) if not is_chunks(name) and not name.startswith(NOT_READ)]
    task = Task(
        function=_anywhere(function, store, work),
        url=store.remote.url,
        most=store.most,
        work=work.relative_to(store.root).as_posix(),
        layout={name: (work / name).read_bytes() for name in names},
    )
    needed = sorted({path for each in needs for path in each.values()})
    with ThreadPoolExecutor(AT_ONCE) as pool:
        known = zip(needed, pool.map(_hash_if_readable, needed), strict=True)
        hashes = {path: found for path, found in known if found is not None}
        list(pool.map(lambda path: store.remote.upload(path, hashes[path], f"{task.work}/files"), hashes))
        wanted = [{name: hashes[path] for name, path in each.items() if path in hashes} for each in needs]
        wanted = wanted or [{} for _ in items]
        tasks = [(_name(item, files), item, files) for item, files in zip(items, wanted, strict=True)]
        every = run(task, tasks)
        list(pool.map(lambda done: _fetch(store, work, task.work, done["files"]), every))
    return [done["result"] for done in every]


def _hash_if_readable(path: Path) -> dict[str, Any] | None:
    """Hash of a file; None, and a warning, for one that cannot be read."""
    try:
        return hash_file(path)
    except OSError as error:
        _log.warning("%s cannot be read: %s", path, error.strerror)
        return None


def _name(*parts: Any) -> str:
    """Name of a task by what it is about."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _below(file: str, work: str) -> str:
    """Prefix for a file that a task gave: chunks become part of a version, all else goes with the build."""
    return FILES if is_chunks(file) else f"{work}/files"


def _fetch(store: SharedStore, work: Path, prefix: str, files: FileHashes) -> None:
    for name in sorted(files, key=lambda name: name.startswith(NOT_READ)):
        store.remote.download(files[name], work / name, _below(name, prefix))


def _anywhere(value: Any, store: Store, work: Path) -> Any:
    """A task's function or argument with places for paths."""
    if isinstance(value, partial):
        words = {name: _anywhere(each, store, work) for name, each in value.keywords.items()}
        return partial(value.func, *(_anywhere(each, store, work) for each in value.args), **words)
    if isinstance(value, Version):
        return Stored(value.asset, value.data_version)
    if not isinstance(value, Path):
        return value
    if value.is_relative_to(work):
        return Place("", "", value.relative_to(work).as_posix())
    version = next((each for each in (value, *value.parents) if (each / MARKER).is_file()), None)
    if version is None:
        raise ValueError(f"{value}: a task for a cluster reads versions and the work folder {work}, got another path")
    asset = version.parent.relative_to(store.root / "versions").as_posix()
    return Place(asset, version.name, value.relative_to(version).as_posix())


def _here(value: Any, store: Store, work: Path) -> Any:
    """The same on a worker, which fetches the versions."""
    if isinstance(value, partial):
        words = {name: _here(each, store, work) for name, each in value.keywords.items()}
        return partial(value.func, *(_here(each, store, work) for each in value.args), **words)
    if isinstance(value, Stored):
        return store.get(value.asset, value.data_version)
    if not isinstance(value, Place):
        return value
    return (store.get(value.asset, value.data_version).path if value.asset else work) / value.inner
