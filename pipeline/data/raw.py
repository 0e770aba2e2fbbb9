"""A folder of downloads as one list of files, whether unpacked or inside .zip and .tar.gz archives.

A path is relative to the folder, in posix form; a file in an archive is ``archive.zip!/inner/path``. Only listed paths
can be read, so a member named ``../x`` is harmless.
"""

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import threading
import time
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from pipeline.errors import DatasetUnusable, UnusableImage
from pipeline.store.files import write_file

KINDS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".csv")
"""Suffixes of the files of a data set; all others (licences, thumbnails) are skipped."""
SYSTEM_FOLDERS = ("__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information")
"""Folders of systems and network storage, in small letters: thumbnails and deleted files are no images of the user."""
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
BROKEN = (OSError, EOFError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile, tarfile.TarError)
"""What zipfile, tarfile and gzip raise for a damaged, encrypted or unknown archive."""
MAX_MEMBER = 1 << 30  # bytes of a member that is read, at most: protects against archive bombs
_SETTLED = 2.0  # seconds: a file changed more recently could change again within the resolution of its time stamp


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
                    places = {
                        item.name.removeprefix("./"): (item.size, item.offset_data) for item in tar if item.isreg()
                    }
                self.sizes = {name: size for name, (size, _) in places.items()}
                self._read = lambda name: os.pread(file.fileno(), *places[name])
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


class RawFolder:
    """Lists and reads the files of a folder and of the archives below it, in a fixed order.

    ``cache`` is a folder for inflated .tar.gz files; without one they go to temporary files. ``broken`` names the
    archives that cannot be opened, with the reason. Raises ``DatasetUnusable`` where there is no such folder.
    """

    def __init__(self, root: Path, cache: Path | None = None) -> None:
        self.root, self.cache = Path(root), cache
        self._archives: dict[str, Archive] = {}
        self.broken: dict[str, str] = {}
        if not self.root.is_dir():
            raise DatasetUnusable(f"expected a folder of downloaded files at {self.root}, got nothing there")

    def __reduce__(self) -> tuple[type["RawFolder"], tuple[Path, Path | None]]:
        return RawFolder, (self.root, self.cache)

    @cached_property
    def sizes(self) -> MappingProxyType[str, int]:
        """Bytes of every file by path, ordered by path; archives are replaced by their members."""
        found: dict[str, int] = {}
        for name, path in _walk(self.root):
            if not name.lower().endswith(ARCHIVES):
                found[name] = path.stat().st_size
                continue
            try:
                archive = self._archives[name] = self.opened(path)
            except UnusableImage as error:
                self.broken[name] = str(error)
                continue
            found |= {f"{name}!/{inner}": size for inner, size in archive.sizes.items() if _listed(inner, KINDS)}
        return MappingProxyType(dict(sorted(found.items())))

    def opened(self, path: Path) -> Archive:
        """An archive below the folder; raises ``UnusableImage`` where it cannot be opened."""
        return Archive(path, self.cache)

    def paths(self) -> list[str]:
        """Every file, unpacked or in an archive, sorted."""
        return list(self.sizes)

    def read(self, path: str) -> bytes:
        """Content of a listed file; raises ``UnusableImage`` where it cannot be read."""
        if path not in self.sizes:
            raise UnusableImage(f"no such file in {self.root}: {path}")
        archive, inside, inner = path.partition("!/")
        if inside and archive in self._archives:
            return self._archives[archive].read(inner)
        try:
            return (self.root / path).read_bytes()
        except OSError as error:
            raise UnusableImage(f"cannot be read: {error}") from error

    def sha256(self, path: str) -> str:
        """Content hash of a listed file."""
        return hashlib.sha256(self.read(path)).hexdigest()


def fingerprint(raw: RawFolder, cache: Path | None = None) -> str:
    """Hash (16 hex digits) of all names and contents in the folder; ``cache`` remembers those of unchanged files."""
    name_of_root = hashlib.sha256(str(raw.root.resolve()).encode()).hexdigest()[:16]
    record = None if cache is None else cache / f"{name_of_root}.json"
    known: dict[str, list[str]] = json.loads(record.read_text()) if record is not None and record.is_file() else {}
    fresh: dict[str, list[str]] = {}
    lines = []
    for name, path in _walk(raw.root):
        status = path.stat()
        state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        old_state, digest = known.get(name, ("", ""))
        if old_state != state:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED:
            fresh[name] = [state, digest]
        lines.append(f"{name}\0{digest}\n")
    if record is not None and fresh != known:
        write_file(record, json.dumps(fresh, indent=0).encode())
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """(relative posix path, path) of the files that count, sorted; links are followed, hidden files skipped."""
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [(path.relative_to(root).as_posix(), path) for path in (Path(folder, file) for file in files)]
    yield from ((name, path) for name, path in sorted(found) if _listed(name, KINDS + ARCHIVES) and path.is_file())


def _listed(path: str, suffixes: tuple[str, ...]) -> bool:
    parts = path.split("/")
    hidden = any((part[:1] == "." and part != ".") or part.lower() in SYSTEM_FOLDERS for part in parts)
    return not hidden and path.lower().endswith(suffixes)
