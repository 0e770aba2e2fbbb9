"""Whether the files of a version are those that its marker lists.

Opening a version compares their hashes, each file once per process, but for chunks of arrays only the sizes: chunks
carry checksums (crc32c) that zarr compares as it reads them. The marker holds its own hash.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.errors import REMEDY, StoreCorrupt
from pipeline.store.files import FileHash, FileHashes, file_names, hash_file

MARKER = "COMPLETE.json"
_FIELDS = {"asset", "data_version", "meta", "files", "created"}
_SETTLED = 2 * 10**9  # ns: a file changed more recently could change again within the resolution of its time stamp
_CHUNKS = re.compile(r"(^|/)c(/\d+)+$")  # name of a file that holds chunks of an array

Marker = dict[str, Any]  # ``_FIELDS``
Differences = dict[str, tuple[FileHash | None, FileHash | None]]  # name → expected and got; None: no such file


def sealed(marker: Marker) -> bytes:
    """A marker with its own hash, as it is written."""
    return json.dumps({**marker, "sha256": _hash(json.loads(json.dumps(marker)))}, indent=1).encode()


def read_marker(folder: Path) -> Marker:
    """The marker of a version; ``StoreCorrupt`` if it is damaged."""
    return parse_marker((folder / MARKER).read_bytes(), folder)


def parse_marker(content: bytes, folder: Path) -> Marker:
    """The marker in ``content``, of the version in ``folder``; ``StoreCorrupt`` if it is damaged."""
    try:
        marker: Marker = json.loads(content)
        wanted = marker.pop("sha256", None)
        got = _hash(marker)
        whole = marker.keys() == _FIELDS and content == sealed(marker)
        whole = whole and all(file.keys() == {"bytes", "sha256"} for file in marker["files"].values())
    except (ValueError, AttributeError, TypeError) as error:
        raise damaged(folder, MARKER, "JSON", str(error)) from error
    if not whole:
        raise damaged(folder, MARKER, f"content of hash {wanted}", f"{got}, or other spaces")
    return marker


def _hash(marker: Marker) -> str:
    return hashlib.sha256(json.dumps(marker, sort_keys=True).encode()).hexdigest()


def damaged(folder: Path, name: str, expected: Any, got: Any) -> StoreCorrupt:
    """The error for a damaged file of the version in ``folder``."""
    what = f"{folder.parent.as_posix().rpartition('/versions/')[2]} {folder.name}"
    where = f"{folder / name} is damaged"
    return StoreCorrupt(f"{what}: {where}: expected {_told(expected)}, got {_told(got)}{REMEDY}")


def _told(file: Any) -> str:
    if not isinstance(file, dict):
        return str(file or "no such file")
    return f"{file['bytes']} bytes of sha256 {file['sha256'][:16]}…"


def is_chunks(name: str) -> bool:
    """Whether a file, by its name in the version, holds chunks of an array."""
    return _CHUNKS.search(name) is not None


def check(folder: Path, *, below: str = "", chunks: bool = False) -> None:
    """Compare the files of the version in ``folder`` whose names begin with ``below``; chunks by size, or hashed too.

    ``StoreCorrupt`` names the first that differs. A process hashes a file again only after it has changed.
    """
    for name, wanted in read_marker(folder)["files"].items():
        if name.startswith(below):
            compare(folder, name, wanted, hashed=chunks or not is_chunks(name))


def compare(folder: Path, name: str, wanted: FileHash, *, hashed: bool = True) -> None:
    """Compare one file of a version with what its marker says; ``StoreCorrupt`` if it differs."""
    if (got := _now(folder / name, wanted, hashed=hashed)) != wanted:
        raise damaged(folder, name, wanted, got)


def check_array(folder: Path) -> None:
    """Hash every file of the array in ``folder``, if it is part of a version."""
    version = next((each for each in folder.parents if (each / MARKER).is_file()), None)
    if version is not None:
        check(version, below=f"{folder.relative_to(version).as_posix()}/", chunks=True)


def _now(path: Path, wanted: FileHash, *, hashed: bool) -> FileHash | None:
    """Size and hash of a file, the hash only if it counts; None if there is no such file."""
    if not path.is_file():
        return None
    status = path.stat()
    if not hashed and status.st_size == wanted["bytes"]:
        return wanted
    state = status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return _hashed(path, *state) if time.time_ns() - max(state[1:]) > _SETTLED else hash_file(path)


@cache
def _hashed(path: Path, *state: int) -> FileHash:
    """Hash of a file in a state."""
    return hash_file(path)


def differences(folder: Path, progress: Callable[[int], object] | None = None) -> Differences:
    """Hash every file: those that differ from the marker; ``progress`` gets the bytes of each file."""
    expected, got = read_marker(folder)["files"], FileHashes()
    for name in set(file_names(folder)) - {MARKER}:
        got[name] = hash_file(folder / name)
        if progress is not None:
            progress(got[name]["bytes"])
    pairs = {name: (expected.get(name), got.get(name)) for name in sorted(expected.keys() | got.keys())}
    return {name: (before, now) for name, (before, now) in pairs.items() if before != now}
