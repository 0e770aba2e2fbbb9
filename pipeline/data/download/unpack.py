"""Unpack an archive from an unknown source into one new folder, or nothing at all.

zipfile and tarfile's data filter keep members inside the folder and refuse devices and links out of it. The tree is
built in a hidden sibling folder and renamed, so a killed run leaves nothing that looks finished.
"""

import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

from pipeline.data.archives import BROKEN, SUFFIXES
from pipeline.errors import ContentDiffers


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack into a new folder below ``folder`` and return it; the archive stays.

    An archive with a single folder at its top gives that folder, any other a folder of the archive's name. Raises
    ``ContentDiffers``, and leaves nothing new, where the archive is unsafe or damaged or the new folder exists.
    """
    stem = next(archive.name[: -len(end)] for end in SUFFIXES if archive.name.lower().endswith(end))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as beside:
        made = Path(beside, stem)
        made.mkdir()
        try:
            _extract(archive, made)
        except BROKEN as error:
            raise ContentDiffers(
                f"{archive}: cannot be unpacked: {error}; if it is damaged, download it again"
            ) from error
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
    if archive.suffix.lower() == ".zip":
        with zipfile.ZipFile(archive) as packed:
            _check_space(archive, folder, sum(item.file_size for item in packed.infolist()))
            packed.extractall(folder)
    else:
        with tarfile.open(archive) as tar:
            _check_space(archive, folder, sum(item.size for item in tar))
            tar.extractall(folder, filter="data")


def _check_space(archive: Path, folder: Path, need: int) -> None:
    if need > (free := shutil.disk_usage(folder).free):
        raise ContentDiffers(f"{archive}: expected room for {need} bytes, got {free}; free some space")
