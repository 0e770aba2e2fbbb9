"""Sizes and SHA-256 hashes of the files of a folder, as a version's marker records them."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

FileHashes = dict[str, dict[str, Any]]
"""Relative POSIX path → ``{"bytes", "sha256"}``."""
_BLOCK = 1 << 20  # bytes read at a time


def hash_folder(folder: Path) -> FileHashes:
    """Hash every file below a folder, and sync files and folders to disk."""
    hashes = {}
    for name in file_names(folder):
        hashes[name] = hash_file(folder / name)
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        sync_folder(path)
    return hashes


def hash_file(path: Path, progress: Callable[[int], object] = lambda size: None) -> dict[str, Any]:
    """Size (bytes) and SHA-256 of a file; ``progress`` gets the size of every block of bytes read."""
    state, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
            size += len(block)
            progress(len(block))
    return {"bytes": size, "sha256": state.hexdigest()}


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_names(folder: Path) -> list[str]:
    """Every file below a folder, relative and sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
