"""Read members of .zip and .tar.gz files in place, as fast as files in a folder, or unpack them safely."""

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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import ContentDiffers, UnusableImage

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
BROKEN = (OSError, EOFError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile, tarfile.TarError)
"""What zipfile, tarfile and gzip raise for a damaged, encrypted or unknown archive."""
MAX_MEMBER = 1 << 30
"""Largest member that is read, bytes: protects against archive bombs."""


class Archive:
    """An open archive, identified by its suffix; ``sizes`` are the bytes of its regular files by inner path.

    A gzip stream can only be read from its start, so a .tar.gz is inflated once: into the folder ``cache``, or into a
    temporary file without one. Raises ``UnusableImage`` for a truncated or unknown file.
    """

    def __init__(self, path: Path, cache: Path | None) -> None:
        self._lock = threading.Lock()
        self._read: Callable[[str], bytes]
        try:
            if path.suffix.lower() == ".zip":
                packed = zipfile.ZipFile(path)
                self.sizes = {item.filename: item.file_size for item in packed.infolist() if not item.is_dir()}
                self._read = packed.read
            else:
                file = _plain_tar(path, cache)
                weakref.finalize(self, file.close)
                with tarfile.open(fileobj=file, mode="r:") as tar:
                    members = {item.name.removeprefix("./"): item for item in tar if item.isreg()}
                self.sizes = {name: item.size for name, item in members.items()}
                self._read = lambda name: _read_at(file, members[name])
        except BROKEN as error:
            raise UnusableImage(f"the archive cannot be opened: {error}; download it again") from error

    def read(self, name: str) -> bytes:
        """Content of one member; raises ``UnusableImage`` where it is damaged, encrypted or too large."""
        size = self.sizes[name]
        if size > MAX_MEMBER:
            raise UnusableImage(f"expected at most {MAX_MEMBER} bytes, got {size}")
        try:
            with self._lock:
                data = self._read(name)
        except BROKEN as error:
            raise UnusableImage(f"cannot be read from the archive: {error}") from error
        if len(data) != size:
            raise UnusableImage(f"the archive ends inside it: expected {size} bytes, got {len(data)}")
        return data


def damage(path: Path) -> str:
    """Why an archive cannot be read to its end, by its own checksums; empty if it can. A plain .tar has none."""
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as packed:
                bad = packed.testzip()
            return f"its member {bad!r} is damaged" if bad else ""
        if path.suffix.lower() in (".gz", ".tgz"):
            with gzip.open(path) as stream:
                while stream.read(1 << 20):
                    pass
    except BROKEN as error:
        return f"it cannot be read to its end: {error}"
    return ""


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive from an unknown source into a new folder below ``folder`` and return it; the archive stays.

    An archive with a single folder at its top gives that folder, any other a folder of the archive's name. Members
    outside the folder, devices and links out of it are refused. Raises ``ContentDiffers``, and leaves nothing new,
    where the archive is unsafe or damaged or the new folder exists.
    """
    stem = next(archive.name[: -len(end)] for end in SUFFIXES if archive.name.lower().endswith(end))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as beside:
        made = Path(beside, stem)
        made.mkdir()
        try:
            _extract(archive, made)
        except BROKEN as error:
            reason = f"cannot be unpacked: {error}; if it is damaged, download it again"
            raise ContentDiffers(f"{archive}: {reason}") from error
        shutil.rmtree(made / "__MACOSX", ignore_errors=True)  # added by macOS, as are files ._*
        for path in list(made.rglob("._*")):
            path.unlink()
        tops = list(made.iterdir())
        made = tops[0] if len(tops) == 1 and tops[0].is_dir() else made
        target = folder / made.name
        if target.exists():
            raise ContentDiffers(f"{target}: expected no such folder yet; remove or rename it to unpack {archive.name}")
        made.rename(target)
    return target


def _extract(archive: Path, folder: Path) -> None:
    extract: Callable[[Path], None]
    with zipfile.ZipFile(archive) if archive.suffix.lower() == ".zip" else tarfile.open(archive) as packed:
        if isinstance(packed, zipfile.ZipFile):
            need, extract = sum(item.file_size for item in packed.infolist()), packed.extractall
        else:
            need, extract = sum(item.size for item in packed), partial(packed.extractall, filter="data")
        if need > (free := shutil.disk_usage(folder).free):
            raise ContentDiffers(f"{archive}: expected room for {need} bytes, got {free}; free some space")
        extract(folder)


def inflated_copy(path: Path, cache: Path) -> Path:
    """Path of the plain .tar of a .tar.gz in the cache; another one for a changed file of the same name."""
    status = path.stat()
    state = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"
    return cache / f"{hashlib.sha256(state.encode()).hexdigest()[:16]}.tar"


def _plain_tar(path: Path, cache: Path | None) -> BinaryIO:
    if path.suffix.lower() == ".tar":
        return path.open("rb")
    if cache is None:
        unnamed = tempfile.TemporaryFile()  # noqa: SIM115 - stays open as long as the archive
        try:
            _inflate(path, unnamed)
        except BaseException:
            unnamed.close()
            raise
        unnamed.seek(0)
        return unnamed
    cache.mkdir(parents=True, exist_ok=True)
    target = inflated_copy(path, cache)
    if not target.is_file():
        with tempfile.TemporaryDirectory(dir=cache) as work:
            part = Path(work, target.name)
            with part.open("wb") as plain:
                _inflate(path, plain)
            os.replace(part, target)
    return target.open("rb")


def _inflate(path: Path, plain: BinaryIO) -> None:
    with gzip.open(path) as packed:
        shutil.copyfileobj(packed, plain, 1 << 20)


def _read_at(file: BinaryIO, member: tarfile.TarInfo) -> bytes:
    file.seek(member.offset_data)
    return file.read(member.size)
