"""Unpacking an archive that nobody looked into: plain files below one new folder, or nothing at all.

All names are checked before a byte is written. Paths out of the folder, links, devices, names that occur twice,
passwords, and more bytes than allowed or than fit end it; a header that lies about a size is found while copying. The
tree is built in a hidden sibling folder and renamed, so a kill leaves nothing that looks finished.
"""

import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from pipeline.data.archives import MAX_MEMBER, SUFFIXES
from pipeline.errors import ContentDiffers

MAX_TREE = 64 << 30
"""Largest tree that is unpacked, bytes."""
MAX_FILES = 1_000_000
_BLOCK = 1 << 20
_BROKEN = (OSError, EOFError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile, tarfile.TarError)
_ENCRYPTED = 0x1  # flag of a zip member under a password


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file in an archive: its name as written there, its size by the header, why it may not be unpacked."""

    name: str
    size: int
    refused: str  # empty where its kind is a plain file
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, *, limit: int = MAX_TREE) -> Path:
    """Unpack into a new folder below ``folder``; the archive stays. Gives the new folder.

    An archive with one folder at its top gives that folder, any other one a folder of the archive's name. Raises
    ``ContentDiffers`` where the archive is unsafe, damaged, or the new folder exists; nothing new is left then.
    """
    stem = next(archive.name[: -len(end)] for end in sorted(SUFFIXES, key=len, reverse=True) if _ends(archive, end))
    work = folder / f".unpack-{stem}"
    if work.exists():  # a kill left it
        shutil.rmtree(work)
    try:
        with _members(archive) as members:
            checked = _checked(archive, members, min(limit, shutil.disk_usage(folder).free))
            work.mkdir()
            for member, path in checked:
                _copy(archive, member, work / path)
        tops = list(work.iterdir())
        made = tops[0] if len(tops) == 1 and tops[0].is_dir() else work
        target = folder / (made.name if made != work else stem)
        if target.exists():
            raise ContentDiffers(f"{target}: expected no such folder yet; remove or rename it to unpack {archive.name}")
        made.rename(target)
    except _BROKEN as error:
        raise ContentDiffers(f"{archive}: cannot be unpacked: {error}; if it is damaged, download it again") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _ends(archive: Path, suffix: str) -> bool:
    return archive.name.lower().endswith(suffix)


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    """Members of an open archive one by one, folders left out."""
    if _ends(archive, ".zip"):
        with zipfile.ZipFile(archive) as packed:
            yield (_zip_member(packed, item) for item in packed.infolist() if not item.is_dir())
    else:
        with tarfile.open(archive) as tar:
            yield (_tar_member(tar, item) for item in tar if not item.isdir())


def _zip_member(packed: zipfile.ZipFile, item: zipfile.ZipInfo) -> Member:
    kind = stat.S_IFMT(item.external_attr >> 16)
    refused = "" if kind in (0, stat.S_IFREG) else "it is a link or a device"
    if item.flag_bits & _ENCRYPTED:
        refused = "it is under a password"
    return Member(name=item.filename, size=item.file_size, refused=refused, open=lambda: packed.open(item))


def _tar_member(tar: tarfile.TarFile, item: tarfile.TarInfo) -> Member:
    refused = "" if item.isreg() and not item.issparse() else "it is a link, a device or sparse"
    return Member(name=item.name, size=item.size, refused=refused, open=lambda: tar.extractfile(item))


def _checked(archive: Path, members: Iterator[Member], limit: int) -> list[tuple[Member, PurePosixPath]]:
    """Members with their relative paths, without what macOS adds; raises at the first that may not be unpacked."""
    total, kept, seen = 0, list[tuple[Member, PurePosixPath]](), set[str]()
    for member in members:
        path = PurePosixPath(member.name)
        why = member.refused or _unsafe(member.name, path)
        total += member.size
        if member.size > MAX_MEMBER or total > limit or len(seen) >= MAX_FILES:
            why = f"{len(seen) + 1} files, {total} bytes; allowed are {MAX_FILES}, {limit}, and {MAX_MEMBER} a file"
        folded = unicodedata.normalize("NFC", str(path)).casefold()  # one name on every file system
        if folded in seen:
            why = why or "its name occurs twice"
        if why:
            raise ContentDiffers(f"{archive}: expected plain files, got {member.name!r}: {why}; nothing was unpacked")
        seen.add(folded)
        if path.parts[0] != "__MACOSX" and not path.name.startswith("._"):
            kept.append((member, path))
    return kept


def _unsafe(name: str, path: PurePosixPath) -> str:
    if path.is_absolute() or ".." in path.parts or not path.parts:
        return "its path leads out of the folder"
    if "\\" in name or "\0" in name or ":" in path.parts[0]:
        return "its path is none on every system"
    return ""


def _copy(archive: Path, member: Member, target: Path) -> None:
    """Write one member, and not a byte more than its header says."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise ContentDiffers(f"{archive}: expected a plain file, got {member.name!r}; nothing was unpacked")
    copied = 0
    with source, target.open("xb") as file:
        while block := source.read(_BLOCK):
            copied += len(block)
            if copied > member.size:
                break
            file.write(block)
    if copied != member.size:
        raise ContentDiffers(f"{archive}: {member.name!r}: expected {member.size} bytes, got another number")
