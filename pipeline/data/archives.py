"""Reading members of .zip and .tar.gz files where they lie, as fast as files in a folder.

A gzip stream can only be read from its start, so a .tar.gz is inflated once into a plain .tar (in the cache folder,
or in a temporary file where there is none) and its members are read from there at random.
"""

import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

from pipeline.errors import UnusableImage

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_MEMBER = 1 << 30
"""Largest member that is read, bytes: a bomb stays packed."""

_BROKEN = (OSError, EOFError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile, tarfile.TarError)


class Archive(Protocol):
    """An open archive: sizes (bytes) of its regular files by inner path, and their content."""

    sizes: dict[str, int]

    def read(self, name: str) -> bytes:
        """Content of one member; raises ``UnusableImage`` where it is damaged, encrypted or too large."""
        ...


class ZipArchive:
    """A .zip file."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)
        self._lock = threading.Lock()
        self.sizes = {item.filename: item.file_size for item in self._zip.infolist() if not item.is_dir()}

    def read(self, name: str) -> bytes:
        """Content of one member."""
        _check_size(self.sizes[name])
        try:
            with self._lock:
                return self._zip.read(name)
        except _BROKEN as error:
            raise UnusableImage(f"cannot be read from the archive: {error}") from error


class TarArchive:
    """A .tar, .tar.gz or .tgz file."""

    def __init__(self, path: Path, cache: Path | None) -> None:
        self._file: BinaryIO = path.open("rb") if path.suffix == ".tar" else _inflated(path, cache)
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()
        self._file.seek(0)
        with tarfile.open(fileobj=self._file, mode="r:") as tar:
            members = [item for item in tar if item.isreg()]
        self._places = {item.name.removeprefix("./"): (item.offset_data, item.size) for item in members}
        self.sizes = {name: size for name, (_, size) in self._places.items()}

    def read(self, name: str) -> bytes:
        """Content of one member."""
        offset, size = self._places[name]
        _check_size(size)
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(size)
        if len(data) != size:
            raise UnusableImage(f"the archive ends inside it: expected {size} bytes, got {len(data)}")
        return data


def open_archive(path: Path, cache: Path | None) -> Archive:
    """Open by suffix; raises ``UnusableImage`` where it is cut or no archive at all."""
    try:
        return ZipArchive(path) if path.suffix.lower() == ".zip" else TarArchive(path, cache)
    except _BROKEN as error:
        raise UnusableImage(f"the archive cannot be opened: {error}; download it again") from error


def damage(path: Path) -> str:
    """Why an archive cannot be read to its end, by the checksums in it; empty where it can. A plain .tar has none."""
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as packed:
                bad = packed.testzip()
            return f"its member {bad!r} is damaged" if bad else ""
        if path.suffix.lower() in (".gz", ".tgz"):
            with gzip.open(path) as stream:
                while stream.read(1 << 20):
                    pass
    except _BROKEN as error:
        return f"it cannot be read to its end: {error}"
    return ""


def _check_size(size: int) -> None:
    if size > MAX_MEMBER:
        raise UnusableImage(f"expected at most {MAX_MEMBER} bytes, got {size}")


def inflated_copy(path: Path, cache: Path) -> Path:
    """Where the plain .tar of a .tar.gz stands in the cache once it was read; another file of that name has another."""
    status = path.stat()
    state = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"
    return cache / f"{hashlib.sha256(state.encode()).hexdigest()[:16]}.tar"


def _inflated(path: Path, cache: Path | None) -> BinaryIO:
    if cache is None:
        unnamed = tempfile.TemporaryFile()  # noqa: SIM115 - stays open as long as the archive
        try:
            with gzip.open(path) as packed:
                shutil.copyfileobj(packed, unnamed, 1 << 20)
        except BaseException:
            unnamed.close()
            raise
        return unnamed
    cache.mkdir(parents=True, exist_ok=True)
    target = inflated_copy(path, cache)
    if not target.is_file():
        handle, temporary = tempfile.mkstemp(dir=cache, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as plain, gzip.open(path) as packed:
                shutil.copyfileobj(packed, plain, 1 << 20)
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return target.open("rb")
