"""The files of a folder as a marker describes them: sizes and hashes, brought to disk once and compared ever after."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Described = dict[str, dict[str, Any]]
"""Relative posix path → ``{"bytes", "sha256"}``."""
_BLOCK = 1 << 20  # bytes read at a time


def seal(folder: Path) -> Described:
    """Bring every file and folder to disk; their sizes and hashes by relative path."""
    files = {}
    for name in names(folder):
        files[name] = describe(folder / name)
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        sync_folder(path)
    return files


def differences(
    folder: Path, expected: Mapping[str, Any], *, besides: str = "", seen: Callable[[int], object] = lambda size: None
) -> dict[str, tuple[Any, Any]]:
    """File → (expected, got) where the folder differs from ``expected``; None stands for "no such file".

    ``besides`` names a file that is no part of the comparison; ``seen`` is told of every block of bytes read.
    """
    got = {name: describe(folder / name, seen) for name in names(folder) if name != besides}
    either = sorted(expected.keys() | got.keys())
    return {name: (expected.get(name), got.get(name)) for name in either if expected.get(name) != got.get(name)}


def describe(path: Path, seen: Callable[[int], object] = lambda size: None) -> dict[str, Any]:
    """Size (bytes) and SHA-256 of a file."""
    state, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
            size += len(block)
            seen(len(block))
    return {"bytes": size, "sha256": state.hexdigest()}


def names(folder: Path) -> list[str]:
    """Every file below a folder, relative and sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def sync_folder(folder: Path) -> None:
    """Bring the entries of a folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
