"""The folder of a file, which some formats need: voxels beside their header, the other slices of a DICOM series."""

import hashlib
import io
import posixpath
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePath
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class Folder:
    """What lies beside a file, on the disk or in an archive.

    Folders of two files are equal if they are one, as long as no file was added or removed.
    """

    name: str = field(compare=False)  # of the file
    state: Hashable
    names: Callable[[], Iterable[str]] = field(compare=False)  # of all files
    opened: Callable[[str], BinaryIO] = field(compare=False)  # by name; may raise ``UnusableImage`` and ``OSError``

    def twin(self, suffix: str) -> str:
        """The file of the same stem with this suffix, in any case; empty without one."""
        wanted = f"{PurePath(self.name).stem}{suffix}".lower()
        return min((other for other in self.names() if other.lower() == wanted), default="")


def on_disk(path: Path) -> Folder:
    """The folder of a file on the disk."""
    above = path.parent

    def names() -> list[str]:
        return sorted(other.name for other in above.iterdir() if other.is_file())

    return Folder(path.name, (str(above), above.stat().st_mtime_ns), names, lambda name: (above / name).open("rb"))


class Listing(Protocol):
    """An archive."""

    sizes: dict[str, int]

    def __hash__(self) -> int: ...

    def read(self, name: str) -> bytes:
        """Content of a member."""


def in_archive(archive: Listing, name: str) -> Folder:
    """The folder of a member of an archive."""
    above = posixpath.dirname(name)

    def opened(other: str) -> BinaryIO:
        return io.BytesIO(archive.read(posixpath.join(above, other)))

    return Folder(posixpath.basename(name), (archive, above), lambda: _names(archive)[above], opened)


@lru_cache(maxsize=8)
def _names(archive: Listing) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in archive.sizes:
        found.setdefault(posixpath.dirname(name), []).append(posixpath.basename(name))
    return found


NO_FOLDER = Folder("", None, list, lambda name: io.BytesIO())
"""Of a file that came alone."""


def sha256(source: BinaryIO, folder: Folder) -> str:
    """Content hash of an open file, of a header (.hdr) together with its voxels (.img)."""
    digest = hashlib.file_digest(source, "sha256")  # type: ignore[arg-type]
    if folder.name.lower().endswith(".hdr") and (voxels := folder.twin(".img")):
        with folder.opened(voxels) as beside:
            while block := beside.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def without_voxels(names: Iterable[str]) -> list[str]:
    """Paths without those of voxels (.img) beside their header (.hdr), with which they are read."""
    given = list(names)
    lower = {name.lower() for name in given}
    return [name for name in given if name[-4:].lower() != ".img" or f"{name[:-4].lower()}.hdr" not in lower]
