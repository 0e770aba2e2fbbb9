"""A folder of downloads as one list of files, whether they lie open or inside .zip and .tar.gz archives.

A path is relative to the folder, in posix form; a file in an archive is ``archive.zip!/inner/path``. Nothing is
unpacked into the folder, and only listed paths can be read, so a member named ``../x`` is only a name.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from pipeline.data.archives import SUFFIXES as ARCHIVES
from pipeline.data.archives import Archive, open_archive
from pipeline.data.read.decode import decode_image, decode_mask
from pipeline.errors import DatasetUnusable, UnusableImage
from pipeline.store.versions import write_file

KINDS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".csv")
"""Suffixes of the files a data set can consist of; all others (licences, thumbnails) are passed over."""
_RACY = 2.0  # seconds: a file changed this short a time ago could change again without its time showing it


class RawFolder:
    """Lists and reads what lies in a folder and in the archives below it, in an order that never varies.

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
        """Bytes of every file by path, ordered by path; archives stand for their members."""
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
        return open_archive(path, self.cache)

    def paths(self) -> list[str]:
        """Every file, open or in an archive, sorted."""
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


def read_image(raw: RawFolder, path: str) -> NDArray[np.uint8]:
    """Pixels of an image, uint8 (H, W) or (H, W, 3); raises ``UnusableImage`` (see ``decode_image``)."""
    return decode_image(raw.read(path))


def read_mask(raw: RawFolder, path: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Marked pixels (H, W) of a mask whose image has ``shape`` (H, W, …); raises ``UnusableImage``."""
    return decode_mask(raw.read(path), (shape[0], shape[1]))


def fingerprint(raw: RawFolder, cache: Path | None = None) -> str:
    """Hash (16 hex digits) of all names and contents in the folder, archives as whole files.

    It changes exactly when a name or a content does. Content hashes are remembered in ``cache`` (a folder) by path,
    size and times, so that asking again costs one look at each file's entry and none at its content.
    """
    record = (
        None if cache is None else cache / f"{hashlib.sha256(str(raw.root.resolve()).encode()).hexdigest()[:16]}.json"
    )
    known: dict[str, list[str]] = json.loads(record.read_text()) if record is not None and record.is_file() else {}
    fresh: dict[str, list[str]] = {}
    lines = []
    for name, path in _walk(raw.root):
        status = path.stat()
        state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        settled = time.time() - max(status.st_mtime, status.st_ctime) > _RACY
        if name in known and known[name][0] == state:
            digest = known[name][1]
        else:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        if settled:
            fresh[name] = [state, digest]
        lines.append(f"{name}\0{digest}\n")
    if record is not None and fresh != known:
        write_file(record, json.dumps(fresh, indent=0).encode())
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """(relative posix path, path) of the files that matter, sorted; links are followed, hidden files are not."""
    found = {}
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in files:
            path = Path(folder, file)
            name = path.relative_to(root).as_posix()
            if _listed(name, KINDS + ARCHIVES) and path.is_file():
                found[name] = path
    yield from sorted(found.items())


def _listed(path: str, suffixes: tuple[str, ...]) -> bool:
    parts = path.split("/")
    hidden = any((part.startswith(".") and part != ".") or part == "__MACOSX" for part in parts)
    return not hidden and path.lower().endswith(suffixes)
