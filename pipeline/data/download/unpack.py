"""Unpack an archive from an unknown source: plain files below one new folder, or nothing at all.

All names are checked before a byte is written. The tree is built in a hidden sibling folder and renamed, so a killed
run leaves nothing that looks finished.
"""

import shutil
import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from pipeline.data.archives import BROKEN, SUFFIXES
from pipeline.errors import ContentDiffers


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack into a new folder below ``folder`` and return it; the archive stays.

    An archive with a single folder at its top gives that folder, any other a folder of the archive's name. Raises
    ``ContentDiffers``, and leaves nothing new, where the archive is unsafe or damaged or the new folder exists.
    """
    stem = next(archive.name[: -len(end)] for end in SUFFIXES if archive.name.lower().endswith(end))
    work = folder / f".unpack-{stem}"
    shutil.rmtree(work, ignore_errors=True)  # left by a killed run
    try:
        work.mkdir()
        if archive.name.lower().endswith(".zip"):
            _unpack_zip(archive, work)
        else:
            _unpack_tar(archive, work)
        tops = list(work.iterdir())
        made, name = (tops[0], tops[0].name) if len(tops) == 1 and tops[0].is_dir() else (work, stem)
        target = folder / name
        if target.exists():
            raise ContentDiffers(f"{target}: expected no such folder yet; remove or rename it to unpack {archive.name}")
        made.rename(target)
    except BROKEN as error:
        raise ContentDiffers(f"{archive}: cannot be unpacked: {error}; if it is damaged, download it again") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _unpack_zip(archive: Path, work: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        items = [item for item in packed.infolist() if not _of_macos(item.filename)]
        kinds = (0, stat.S_IFREG, stat.S_IFDIR)
        plain = [stat.S_IFMT(item.external_attr >> 16) in kinds for item in items]
        _check(archive, work, [item.filename for item in items], [item.file_size for item in items], plain)
        packed.extractall(work, items)


def _unpack_tar(archive: Path, work: Path) -> None:
    with tarfile.open(archive) as tar:
        items = [item for item in tar if not _of_macos(item.name)]
        plain = [(item.isreg() and not item.issparse()) or item.isdir() for item in items]
        _check(archive, work, [item.name for item in items], [item.size for item in items], plain)
        tar.extractall(work, items, filter="data")


def _of_macos(name: str) -> bool:
    path = PurePosixPath(name)
    return path.parts[:1] == ("__MACOSX",) or path.name.startswith("._")


def _check(archive: Path, work: Path, names: list[str], sizes: list[int], plain: list[bool]) -> None:
    """Raise ``ContentDiffers`` where a member is unsafe or all of them need more room than there is."""
    seen: set[str] = set()
    for name, is_plain in zip(names, plain, strict=True):
        path = PurePosixPath(name)
        key = str(path).casefold()
        reason = "" if is_plain else "it is a link, a device or sparse"
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name.partition("/")[0]:
            reason = "its path leads out of the folder on some systems"
        elif key in seen:
            reason = "its name occurs twice, or differs from another in case alone"
        if reason:
            raise ContentDiffers(f"{archive}: expected plain files, got {name!r}: {reason}; nothing was unpacked")
        seen.add(key)
    need, free = sum(sizes), shutil.disk_usage(work).free
    if need > free:
        raise ContentDiffers(f"{archive}: expected room for {need} bytes, got {free}; free some space")
