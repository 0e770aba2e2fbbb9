"""What ``proxyano score`` reads: files, and members of archives under names of their own."""

import io
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.data.archives import ARCHIVES, NOT_READ, OTHER_ARCHIVES, Archive
from pipeline.data.decode import SUFFIXES, Frame, read_frames
from pipeline.data.read.folder import in_archive, sha256
from pipeline.data.walk import find_files
from pipeline.errors import UnusableImage


@dataclass(frozen=True)
class Member:
    """A file in an archive; ``path`` is ``archive.zip!/inner/path``."""

    path: Path
    archive: Archive
    name: str

    def __str__(self) -> str:
        return str(self.path)

    def sha256(self) -> str:
        """Content hash; raises ``UnusableImage`` where it cannot be read."""
        if not self.name.lower().endswith(".hdr"):
            return self.archive.sha256(self.name)
        return sha256(io.BytesIO(self.archive.read(self.name)), in_archive(self.archive, self.name))

    def frames(self) -> Iterator[Frame]:
        """Its images one by one, from a copy on the disk. Never raises, as ``read_frames``."""
        suffix = next((suffix for suffix in SUFFIXES if self.name.lower().endswith(suffix)), "")
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, f"image{suffix}")
            try:
                self.archive.copy(self.name, copy)
            except (UnusableImage, OSError) as error:
                yield Frame(self.path, 0, None, str(error))
                return
            with copy.open("rb") as content:
                for frame in read_frames(copy, content, in_archive(self.archive, self.name)):
                    yield replace(frame, path=self.path, reason=frame.reason.replace(str(copy), str(self)))


@dataclass(frozen=True)
class Refused:
    """An archive that is not read, wholly or in part, with the reason."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return str(self.path)

    def frames(self) -> Iterator[Frame]:
        """One without pixels."""
        yield Frame(self.path, 0, None, self.reason)


File = Path | Member | Refused
"""What is scored: a file, a file in an archive, or an archive that is not read."""


def frames_of(file: File) -> Iterator[Frame]:
    """Its images one by one. Never raises."""
    return read_frames(file) if isinstance(file, Path) else file.frames()


def find_inputs(paths: Sequence[Path], passed: Counter[str]) -> Iterator[File]:
    """Files as of ``walk.find_files``, and what archives among them hold; ``passed`` counts the others by kind."""
    for path in find_files(paths, passed, OTHER_ARCHIVES):
        if not OTHER_ARCHIVES.search(path.name) or not path.is_file():
            yield path
        else:
            yield from _unpacked(path, passed)


def _unpacked(path: Path, passed: Counter[str]) -> Iterator[Member | Refused]:
    try:
        if not path.name.lower().endswith(ARCHIVES):
            raise UnusableImage(NOT_READ)
        archive = Archive(path, None)
    except UnusableImage as error:
        yield Refused(path, str(error))
        return
    if archive.problem:
        yield Refused(path, archive.problem)
    for name, reason in archive.broken.items():
        yield Refused(Path(f"{path}!/{name}"), reason)
    for name in sorted(archive.members(SUFFIXES, passed)):
        inside = Path(f"{path}!/{name}")
        yield Refused(inside, NOT_READ) if OTHER_ARCHIVES.search(name) else Member(inside, archive, name)
