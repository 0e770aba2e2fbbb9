"""Files on disk: atomic writes, and sizes and SHA-256 hashes as a version's marker records them."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

FileHash = dict[str, Any]  # bytes and sha256
FileHashes = dict[str, FileHash]  # by relative POSIX path


def hash_folder(folder: Path, known: Mapping[str, FileHash] | None = None) -> FileHashes:
    """Hash every file below a folder, and sync files and folders to disk.

    ``known`` are hashes of copied files by their name here: those are not read again.
    """
    for path in [folder, *(path for path in folder.rglob("*") if path.exists())]:
        sync(path)
    known = known or {}
    return {name: known.get(name) or hash_file(folder / name) for name in file_names(folder)}


def hash_file(path: Path) -> FileHash:
    """Size (bytes) and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    return {"bytes": size, "sha256": digest}


def sync(path: Path) -> None:
    """Sync a file, or the entries of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_names(folder: Path) -> list[str]:
    """Every file below a folder, relative and sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@contextmanager
def new_file(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """A file to write, atomically: temporary sibling, fsync, replace. Readers see the old content or the new.

    Not ``durable``: without fsync, which takes milliseconds; a power cut may lose the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def write_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file at once, as ``new_file`` does."""
    with new_file(path, durable=durable) as file:
        file.write(content)
