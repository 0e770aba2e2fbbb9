"""Sizes and SHA-256 hashes of the files of a folder, as a version's marker records them."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FileHashes = dict[str, dict[str, Any]]
"""Relative POSIX path → ``{"bytes", "sha256"}``."""
_BLOCK = 1 << 20  # bytes read at a time


def hash_folder(folder: Path) -> FileHashes:
    """Hash every file below a folder, and sync files and folders to disk."""
    hashes = {}
    for name in _names(folder):
        hashes[name] = hash_file(folder / name)
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        sync_folder(path)
    return hashes


def differences(
    folder: Path, expected: Mapping[str, Any], *, ignore: str, progress: Callable[[int], object]
) -> dict[str, tuple[Any, Any]]:
    """File → (expected, got) for every file that differs from ``expected``; None stands for a missing file.

    ``ignore`` names a file that is not compared; ``progress`` gets the size of every block of bytes read.
    """
    got = {name: hash_file(folder / name, progress) for name in _names(folder) if name != ignore}
    either = sorted(expected.keys() | got.keys())
    return {name: (expected.get(name), got.get(name)) for name in either if expected.get(name) != got.get(name)}


def hash_file(path: Path, progress: Callable[[int], object] = lambda size: None) -> dict[str, Any]:
    """Size (bytes) and SHA-256 of a file."""
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


def _names(folder: Path) -> list[str]:
    """Every file below a folder, relative and sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
