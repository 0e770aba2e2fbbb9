"""The folder of a file, which some formats need: voxels beside their header, the other slices of a DICOM series."""

import hashlib
import io
from collections.abc import Callable, Container, Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import BinaryIO


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


def holds_voxels(name: str, names: Container[str]) -> bool:
    """Whether a file (.img) holds the voxels of a header; ``names`` of all files, like its own, in small letters."""
    return name.endswith(".img") and f"{name[:-4]}.hdr" in names
