"""A folder of downloads as one list of files, whether unpacked or inside archives.

A path is relative to the folder, in posix form; a file in an archive is ``archive.zip!/inner/path``. Only listed paths
can be read, so a member named ``../x`` is harmless.
"""

import hashlib
import io
import json
import logging
import time
from collections import Counter
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from pipeline.data.archives import ARCHIVES, NOT_READ, OTHER_ARCHIVES, Archive
from pipeline.data.read import nifti, vendors
from pipeline.data.read.folder import Folder, in_archive, on_disk, without_voxels
from pipeline.data.read.folder import sha256 as content_sha256
from pipeline.data.walk import head_of, is_image, kind_of, walk
from pipeline.errors import DatasetUnusable, UnusableImage
from pipeline.store.files import write_file

KINDS = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".csv", ".dcm", ".dicom", ".ima"),
    *(*nifti.SUFFIXES, *vendors.SUFFIXES),
)
"""Suffixes of the files of a data set; of others (licences) only those with the content of an image are listed."""
UNREADABLE = "unreadable"
_SETTLED = 2.0  # seconds: a file changed more recently could change again within the resolution of its time stamp
_log = logging.getLogger(__name__)


class RawFolder:
    """Lists and reads the files of a folder and of the archives below it, in a fixed order.

    ``cache`` is a folder for inflated archives; without one they go to temporary files. ``broken`` names archives that
    are not read, wholly or in part, with the reason; ``odd`` other files that a layout knows but cannot place;
    ``labels`` are the label files that were read, and ``passed`` counts files by kind that are not looked at. Raises
    ``DatasetUnusable`` where there is no such folder.
    """

    def __init__(self, root: Path, cache: Path | None = None) -> None:
        self.root, self.cache = Path(root), cache
        self._archives: dict[str, Archive] = {}
        self.broken: dict[str, str] = {}
        self.odd: dict[str, str] = {}
        self.labels = set[str]()
        self.passed = Counter[str]()
        if not self.root.is_dir():
            raise DatasetUnusable(f"expected a folder of downloaded files at {self.root}, got nothing there")

    def __reduce__(self) -> tuple[type["RawFolder"], tuple[Path, Path | None]]:
        return RawFolder, (self.root, self.cache)

    @cached_property
    def files(self) -> MappingProxyType[str, Path]:
        """Every unpacked file that may be of a data set, and every archive, by path, in order."""
        found: dict[str, Path] = {}
        for name, path in walk(self.root, self.passed):
            if not path.is_file():
                self.passed["no regular file"] += 1
            elif name.lower().endswith(KINDS + ARCHIVES) or OTHER_ARCHIVES.search(name) or _has_image(path):
                found[name] = path
            else:
                self.passed[kind_of(name)] += 1
        return MappingProxyType(found)

    @cached_property
    def sizes(self) -> MappingProxyType[str, int]:
        """Bytes of every file by path, ordered by path; archives are replaced by their members.

        Voxels (.img) stand for no file of their own: they belong to their header (.hdr).
        """
        found: dict[str, int] = {}
        for name in without_voxels(self.files):
            path = self.files[name]
            if not name.lower().endswith(ARCHIVES):
                if OTHER_ARCHIVES.search(name):
                    self.broken[name] = NOT_READ
                else:
                    found[name] = path.stat().st_size
                continue
            try:
                archive = self._archives[name] = self.opened(path)
            except UnusableImage as error:
                self.broken[name] = str(error)
                continue
            self.broken |= {f"{name}!/{inner}": reason for inner, reason in archive.broken.items()}
            if archive.problem:
                self.broken[name] = archive.problem
            found |= {f"{name}!/{inner}": archive.sizes[inner] for inner in self._members(name, archive)}
        return MappingProxyType(dict(sorted(found.items())))

    def _members(self, name: str, archive: Archive) -> list[str]:
        """Inner paths of an archive that may be of a data set; the others are counted, or named."""
        found = list(archive.members(KINDS, self.passed))
        self.broken |= {f"{name}!/{inner}": NOT_READ for inner in found if OTHER_ARCHIVES.search(inner)}
        return [inner for inner in found if not OTHER_ARCHIVES.search(inner)]

    def opened(self, path: Path) -> Archive:
        """An archive below the folder; raises ``UnusableImage`` where it cannot be opened."""
        return Archive(path, self.cache)

    def paths(self) -> list[str]:
        """Every file, unpacked or in an archive, sorted."""
        return list(self.sizes)

    def needed(self, path: str, *, beside: bool = False) -> dict[str, Path]:
        """The files on disk that a listed file is read from, by name: itself or its archive, a header with its voxels.

        All files of its folder if ``beside`` says that others decide on it.
        """
        name, inside, _ = path.partition("!/")
        beside = beside and not inside
        names = self._by_folder[name.rpartition("/")[0]] if beside else self._pairs.get(_stem(name), [name])
        return {each: self.files[each] for each in names}

    @cached_property
    def _by_folder(self) -> dict[str, list[str]]:
        """Folder → its files."""
        found: dict[str, list[str]] = {}
        for name in self.files:
            found.setdefault(name.rpartition("/")[0], []).append(name)
        return found

    @cached_property
    def _pairs(self) -> dict[str, list[str]]:
        """Path without suffix → headers and voxels."""
        found: dict[str, list[str]] = {}
        for name in self.files:
            if stem := _stem(name):
                found.setdefault(stem, []).append(name)
        return found

    def read(self, path: str) -> bytes:
        """Content of a listed file; raises ``UnusableImage`` where it cannot be read."""
        if path not in self.sizes:
            raise UnusableImage(f"no such file in {self.root}: {path}")
        archive, inside, inner = path.partition("!/")
        if inside and archive in self._archives:
            return self._archives[archive].read(inner)
        try:
            return self.files[path].read_bytes()
        except OSError as error:
            raise UnusableImage(f"cannot be read: {error.strerror}") from error

    def stream(self, path: str) -> tuple[BinaryIO, Path, Folder]:
        """A listed file, open, its path, and what lies beside it; one in an archive is in memory and has only a name.

        Errors as ``read``.
        """
        if path not in self.files or path not in self.sizes:
            archive, _, inner = path.partition("!/")
            return (
                io.BytesIO(self.read(path)),
                Path(path.rpartition("!/")[2]),
                in_archive(self._archives[archive], inner),
            )
        try:
            return self.files[path].open("rb"), self.files[path], on_disk(self.files[path])
        except OSError as error:
            raise UnusableImage(f"cannot be read: {error.strerror}") from error

    def sha256(self, path: str) -> str:
        """Content hash of a listed file, of a header with its voxels; errors as ``read``."""
        source, _, folder = self.stream(path)
        with source:
            try:
                return content_sha256(source, folder)
            except OSError as error:
                raise UnusableImage(f"cannot be read: {error.strerror}") from error


def fingerprint(raw: RawFolder, cache: Path | None = None) -> str:
    """Hash (16 hex digits) of all names and contents in the folder; ``cache`` remembers those of unchanged files.

    A file that cannot be read counts by its name, so that it stops no lane.
    """
    name_of_root = hashlib.sha256(str(raw.root.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
    record = None if cache is None else cache / f"{name_of_root}.json"
    known = _remembered(record)
    fresh: dict[str, list[str]] = {}
    lines = []
    for name, path in raw.files.items():
        try:
            status = path.stat()
            state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
            old_state, digest = known.get(name, ("", ""))
            if old_state != state:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED:
                fresh[name] = [state, digest]
        except OSError as error:  # the lane names it where it reads it
            _log.warning("%s cannot be read: %s", path, error.strerror)
            digest = UNREADABLE
        lines.append(f"{name}\0{digest}\n")
    if record is not None and fresh != known:
        write_file(record, json.dumps(fresh, indent=0).encode())
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _remembered(record: Path | None) -> dict[str, list[str]]:
    """Name → state and hash of the files when they were hashed; nothing, and a warning, from a damaged record."""
    if record is None or not record.is_file():
        return {}
    try:
        known = json.loads(record.read_text())
        if all(isinstance(row, list) and len(row) == 2 for row in known.values()):
            return dict(known)
        reason = "not a mapping of pairs"
    except (ValueError, AttributeError) as error:
        reason = str(error)
    _log.warning("%s is damaged (%s): every file is hashed again", record, reason)
    return {}


def _stem(name: str) -> str:
    """Path of a header or of voxels without its suffix, in small letters; empty for other files."""
    return name[:-4].lower() if name.lower().endswith(nifti.PAIR) else ""


def _has_image(path: Path) -> bool:
    try:
        return is_image(head_of(path))
    except OSError:
        return False
