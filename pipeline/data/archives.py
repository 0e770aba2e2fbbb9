"""Archives as lists of files: .zip, and .tar plain or packed by gzip, bzip2 or xz; the content tells which.

An archive in an archive is read like a folder; one that lies deeper, or is of another kind, is named.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import posixpath
import re
import shutil
import struct
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.data.archive_members import pieces, tar_members, zip_members
from pipeline.data.read.folder import without_voxels
from pipeline.data.walk import HEAD, is_image, kind_of, left_out, shown
from pipeline.errors import UnusableImage

PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz")
ARCHIVES = (".zip", ".tar", *PACKED)
OTHER_ARCHIVES = re.compile(
    r"\.(7z|rar|zip|tar)(\.\d{3})?$|\.(tgz|tbz2?|txz|zst|lz|lz4|lzh|arj|cab|z|z\d\d|r\d\d|part\d+|bz2|xz)$|(?<!\.nii)\.gz$",
    re.IGNORECASE,
)
"""Names of archives: those not in ``ARCHIVES``, and those that lie too deep in others, are named as not read."""
NOT_READ = "an archive of a kind or in a place that is not read: unpack it, or pack its files into one .zip"
BROKEN = (
    *(OSError, EOFError, RuntimeError, ArithmeticError, LookupError, TypeError, ValueError, MemoryError),
    *(struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError),
)
"""What zipfile, tarfile and the decompressors raise for a damaged, encrypted or unknown archive."""
MAX_MEMBER = 1 << 30  # bytes of a member that is read, at most: protects against archive bombs
MAX_RATIO = 200  # of a member above ``SMALL`` bytes to what it takes in the archive; pictures have below 20
SMALL = 64 << 20  # bytes
_OPEN: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_BLOCK, _BY_LINK = 1 << 20, 10  # bytes read at once; links from one to the next that are followed


class Archive:
    """An open archive; ``sizes`` are the bytes of its readable files by inner path, as ``walk.shown`` gives names.

    ``problem`` says in a sentence what of it cannot be read, ``broken`` what of archives in it, whose files are
    ``inner.zip!/path``. A packed tar can only be read from its start, so it is inflated once: into the folder
    ``cache``, or into a temporary file without one. Raises ``UnusableImage`` where nothing can be read.
    """

    def __init__(self, path: Path, cache: Path | None, depth: int = 1) -> None:
        self.path, self._lock = path, threading.Lock()
        self._open: dict[str, Callable[[], Any]] = {}  # inner path → a stream of its content
        self._packed: dict[str, int] = {}  # inner path → bytes that it takes in the archive
        self._inner: list[Archive] = []
        self.sizes: dict[str, int] = {}
        self.problem, self.broken, self._passed = "", dict[str, str](), Counter[str]()
        try:
            if _is_zip(path):
                self._list_zip(zipfile.ZipFile(path))
            else:
                self._list_tar(_plain_tar(path, cache))
        except BROKEN as error:
            raise UnusableImage(f"the archive cannot be opened: {shown(str(error))}; download it again") from error
        if depth:
            self._list_inner(max(SMALL, MAX_RATIO * path.stat().st_size), depth - 1)

    def _add(self, name: str, size: int, packed: int, opened: Callable[[], Any]) -> None:
        self.sizes[name], self._packed[name], self._open[name] = size, packed, opened

    def _list_zip(self, packed: zipfile.ZipFile) -> None:
        members, self.problem = zip_members(packed)
        for name, item in members.items():
            self._add(name, item.file_size, item.compress_size, partial(packed.open, item))

    def _list_tar(self, file: BinaryIO) -> None:
        weakref.finalize(self, file.close)
        tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - stays open as long as the archive
        links, lost = dict[str, str](), ""
        try:
            for item in tar_members(tar):
                name = shown(item.name.removeprefix("./").replace("\\", "/"))
                if item.islnk() or item.issym():
                    above = "" if item.islnk() else posixpath.dirname(name)
                    links[name] = posixpath.normpath(posixpath.join(above, shown(item.linkname)))
                elif item.sparse is not None:
                    held = sum(size for _, size in pieces(item))
                    self._add(name, item.size, held, partial(tar.extractfile, item))
                elif item.isreg():
                    self._add(name, item.size, item.size, partial(tar.extractfile, item))
                elif not item.isdir():
                    self._passed["device or pipe"] += 1
            whole = os.pread(file.fileno(), tarfile.BLOCKSIZE, tar.offset) == bytes(tarfile.BLOCKSIZE)
            lost = "" if whole else "it ends, or is damaged, before its end mark"
        except BROKEN as error:
            if not self.sizes:
                raise
            lost = f"it ends, or is damaged, behind them ({error})"
        if lost:
            self.problem = f"{len(self.sizes)} files of it are read, and {lost}: compare, or download it again"
        for name, target in links.items():
            for _ in range(_BY_LINK):
                target = links.get(target, target)
            if target in self.sizes:
                self._add(name, self.sizes[target], self._packed[target], self._open[target])
            else:
                self._passed["link to nothing"] += 1

    def _list_inner(self, most: int, depth: int) -> None:
        """Add the files of archives in this one, which may take ``most`` bytes of the disk in all."""
        for name in [name for name in self.sizes if name.lower().endswith(ARCHIVES)]:
            most -= self.sizes[name]
            try:
                if most < 0:
                    raise UnusableImage("expected no archive bomb, got too many archives in one; unpack it")
                with tempfile.TemporaryDirectory() as folder:
                    copied = Path(folder, f"inner{posixpath.splitext(name)[1]}")
                    self.copy(name, copied)
                    self._inner.append(inner := Archive(copied, None, depth))
                self.broken |= {name: inner.problem} if inner.problem else {}
                self._passed += inner._passed
                for path, size in inner.sizes.items():
                    self._add(f"{name}!/{path}", size, inner._packed[path], inner._open[path])
            except UnusableImage as error:
                self.broken[name] = str(error)
            del self.sizes[name]

    def members(self, suffixes: tuple[str, ...], passed: Counter[str]) -> Iterator[str]:
        """Inner paths with one of the suffixes, an archive's name or an image's content; ``passed`` counts others."""
        passed += self._passed
        for name in without_voxels(self.sizes):
            parts = ["", *name.split("/")]
            named = "DICOMDIR" if parts[-1].upper() == "DICOMDIR" else ""
            if kind := next(filter(None, map(left_out, parts[1:], parts)), named):
                passed[kind] += 1
            elif name.lower().endswith(suffixes) or OTHER_ARCHIVES.search(name) or is_image(self.head(name)):
                yield name
            else:
                passed[kind_of(name)] += 1

    def head(self, name: str) -> bytes:
        """The first ``HEAD`` bytes of a member; empty where it is damaged, which ``read`` tells."""
        try:
            with self._lock, self._open[name]() as stream:
                return cast(bytes, stream.read(HEAD))
        except BROKEN:
            return b""

    def read(self, name: str) -> bytes:
        """Content of one member; raises ``UnusableImage`` where it is damaged or too large."""
        content = io.BytesIO()
        self._write(name, content)
        return content.getvalue()

    def copy(self, name: str, target: Path) -> None:
        """Write a member to a file, a block at a time; errors as of ``read``, and for a disk that has no room."""
        if self.sizes[name] + SMALL > shutil.disk_usage(target.parent).free:
            raise UnusableImage(f"unpacking {self.sizes[name]} bytes takes more than the free disk space; free some")
        with target.open("wb") as file:
            self._write(name, file)

    def sha256(self, name: str) -> str:
        """Content hash of a member; errors as of ``read``."""
        return self._write(name, None)

    def _write(self, name: str, target: BinaryIO | None) -> str:
        size, packed, done, digest = self.sizes[name], self._packed[name], 0, hashlib.sha256()
        if size > MAX_MEMBER:
            raise UnusableImage(f"expected at most {MAX_MEMBER} bytes, got {size}")
        if size > max(SMALL, MAX_RATIO * packed):
            raise UnusableImage(f"expected no archive bomb, got {size} bytes from {packed}; unpack it if it is none")
        try:
            with self._lock, self._open[name]() as stream:
                while block := stream.read(_BLOCK):
                    done += len(block)
                    digest.update(block)
                    if target is not None:
                        target.write(block)
        except BROKEN as error:
            raise UnusableImage(f"cannot be read from the archive: {shown(str(error))}") from error
        if done != size:
            raise UnusableImage(f"the archive ends inside it: expected {size} bytes, got {done}")
        return digest.hexdigest()


def damage(path: Path) -> str:
    """Why an archive cannot be read to its end, by its own checksums; empty if it can. A plain .tar has none."""
    try:
        if _is_zip(path):
            with zipfile.ZipFile(path) as packed:
                bad = packed.testzip()
            return f"its member {bad!r} is damaged" if bad else ""
        with _unpacked(path) as stream:
            while path.name.lower().endswith(PACKED) and stream.read(_BLOCK):
                pass
    except BROKEN as error:
        return f"it cannot be read to its end: {error}"
    return ""


def inflated_copy(path: Path, cache: Path) -> Path:
    """Path of the plain .tar of a packed one in the cache; another one for a changed file of the same name."""
    status = path.stat()
    state = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"
    return cache / f"{hashlib.sha256(os.fsencode(state)).hexdigest()[:16]}.tar"


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix.lower() == ".zip" or file.read(4) in (b"PK\3\4", b"PK\5\6", b"PK\7\x08")


def _unpacked(path: Path) -> BinaryIO:
    """The plain stream of a tar, whatever packs it."""
    with path.open("rb") as file:
        head = file.read(6)
    opener = next((opener for magic, opener in _OPEN.items() if head.startswith(magic)), None)
    return cast(BinaryIO, path.open("rb") if opener is None else opener(path))


def _plain_tar(path: Path, cache: Path | None) -> BinaryIO:
    with path.open("rb") as file:
        if not file.read(6).startswith(tuple(_OPEN)):
            return path.open("rb")
    if cache is None:
        unnamed = tempfile.TemporaryFile()  # noqa: SIM115 - stays open as long as the archive
        try:
            _inflate(path, unnamed)
        except BaseException:
            unnamed.close()
            raise
        unnamed.seek(0)
        return cast(BinaryIO, unnamed)
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
    """Unpack a stream into a file, within the limits of size and free disk."""
    most, done = max(SMALL, MAX_RATIO * path.stat().st_size), 0
    with _unpacked(path) as packed:
        while block := packed.read(_BLOCK):
            disk = os.fstatvfs(plain.fileno())
            done += len(block)
            if done > most:
                raise UnusableImage(f"expected no archive bomb, got more than {most} bytes; unpack it if it is none")
            if disk.f_bavail * disk.f_frsize < SMALL:
                raise UnusableImage("unpacking it takes more than the free disk space; free some, or unpack it")
            plain.write(block)
