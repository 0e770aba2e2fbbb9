"""A folder of downloads as one list of files, whether unpacked or inside .zip and .tar.gz archives.

A path is relative to the folder, in posix form; a file in an archive is ``archive.zip!/inner/path``. Nothing is
unpacked into the folder, and only listed paths can be read, so a member named ``../x`` is harmless.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from pipeline.data.archives import SUFFIXES as ARCHIVES
from pipeline.data.archives import Archive
from pipeline.errors import DatasetUnusable, UnusableImage
from pipeline.store.versions import write_file

KINDS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".csv")
"""Suffixes of the files of a data set; all others (licences, thumbnails) are skipped."""
_SETTLED = 2.0  # seconds: a file changed more recently could change again within the resolution of its time stamp


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
    """Hash (16 hex digits) of all names and contents in the folder, archives as whole files.

    Content hashes are remembered in the folder ``cache`` by path, size and times, so a second call reads no file that
    has not changed.
    """
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
    hidden = any((part.startswith(".") and part != ".") or part == "__MACOSX" for part in path.split("/"))
    return not hidden and path.lower().endswith(suffixes)
