"""Raw files in a bucket, kept as a folder on disk: what changed there is fetched, what is gone is removed.

Beside the folder lies a record of the objects that it holds. Only files that the record names are removed.
"""

import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from pipeline.errors import ConfigError, DatasetUnusable
from pipeline.store.files import write_file
from pipeline.store.locks import locked

try:
    from pipeline.store.remote import PATIENCE, Remote
except ModuleNotFoundError as error:
    raise ConfigError("a URL as PROXYANO_RAW needs the package obstore; run: pip install 'proxyano[bucket]'") from error

VARIABLE = "PROXYANO_RAW"
FRESH = 10.0  # seconds for which a listing counts: a run opens a folder several times
AT_ONCE = 8  # objects that are fetched side by side
_RECORDED = 20.0  # seconds between two writes of the record while objects come
_listed: dict[tuple[str, Path], float] = {}
_log = logging.getLogger(__name__)


def mirror(url: str, folder: Path, *, fresh: float = FRESH, patience: float = PATIENCE, progress: bool = True) -> None:
    """Make ``folder`` hold the objects below ``url``; nothing is asked of a bucket listed ``fresh`` seconds ago.

    An object has changed if its ETag or size has, or if its file is gone or has another size. A killed call resumes.
    Raises ``DatasetUnusable`` if no object is there, ``TransferFailed`` and ``ConfigError`` as ``Remote``.
    """
    if time.monotonic() - _listed.get((url, folder), float("-inf")) < fresh:
        return
    remote = Remote(url, patience=patience, variable=VARIABLE)
    objects = {name: tag for name, tag in remote.objects().items() if _is_file(name, url)}
    if not objects:
        raise DatasetUnusable(f"expected downloaded files below {url}, got no object there; check {VARIABLE}")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock"), folder.name):
        _Copy(remote, folder).update(objects, progress=progress)
    _listed[url, folder] = time.monotonic()


class _Copy:
    """The folder and its record: object → ETag and size when it was fetched."""

    def __init__(self, remote: Remote, folder: Path) -> None:
        self.remote, self.folder = remote, folder
        self.file, self.written = folder.with_name(f".{folder.name}.json"), time.monotonic()
        self.held = self._read()

    def update(self, objects: dict[str, tuple[str, int]], *, progress: bool) -> None:
        for name in self.held.keys() - objects.keys():
            (self.folder / name).unlink(missing_ok=True)
            del self.held[name]
        wanted = [name for name, tag in objects.items() if self.held.get(name) != tag or not self._lies(name, tag[1])]
        if not wanted and self.file.is_file():
            return
        title, size = f"{self.folder.name}: fetching", sum(objects[name][1] for name in wanted)
        try:
            with tqdm(total=size, desc=title, unit="B", unit_scale=True, disable=not progress or not wanted) as bar:
                for name, tag in self._fetched(wanted):
                    self.held[name] = tag
                    bar.update(tag[1])
                    if time.monotonic() - self.written > _RECORDED:
                        self._write()
        finally:
            self._write()

    def _fetched(self, names: list[str]) -> Iterator[tuple[str, tuple[str, int]]]:
        """Every object with the ETag and size of what came; those that no file can hold are named and left out."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for start in range(0, len(names), 100 * AT_ONCE):
                some = names[start : start + 100 * AT_ONCE]
                jobs = {pool.submit(self.remote.fetch, name, self.folder / name): name for name in some}
                try:
                    for job in as_completed(jobs):
                        try:
                            yield jobs[job], job.result()
                        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                            told = "an object of the same name has others below it"
                            _log.warning("%s/%s is left out: %s (%s)", self.remote.url, jobs[job], told, error.strerror)
                        except FileNotFoundError:
                            _log.warning("%s/%s was removed meanwhile", self.remote.url, jobs[job])
                finally:
                    for job in jobs:
                        job.cancel()

    def _lies(self, name: str, size: int) -> bool:
        path = self.folder / name
        return path.is_file() and path.stat().st_size == size

    def _read(self) -> dict[str, tuple[str, int]]:
        """The record; empty if it is missing, damaged or of another URL."""
        try:
            known = json.loads(self.file.read_text())
            held = {str(name): (str(tag), int(size)) for name, (tag, size) in known["objects"].items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("%s is damaged (%s): everything is fetched again", self.file, error)
            return {}
        if known.get("url") != self.remote.url:
            for name in held:
                (self.folder / name).unlink(missing_ok=True)
            return {}
        return held

    def _write(self) -> None:
        write_file(self.file, json.dumps({"url": self.remote.url, "objects": self.held}, indent=0).encode())
        self.written = time.monotonic()


def _is_file(name: str, url: str) -> bool:
    """Whether an object can be a file below a folder: not a marker of a folder, no path that leads out of it."""
    if name.endswith("/"):
        return False
    if any(part in ("..", ".", "") for part in name.split("/")) or PurePosixPath(name).is_absolute():
        _log.warning("%s/%s is left out: its name leads out of the folder", url, name)
        return False
    return True
