"""The versions that a store on disk keeps of a remote one: which are in use, and which leave when room is short.

A version is in use while a process holds a kernel lock on its folder, which the kernel frees when the process dies.
"""

import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from pipeline.store.files import sync
from pipeline.store.verify import MARKER, read_marker


class _Used(threading.local):
    """Folders that this thread uses, and the open files whose locks say so."""

    def __init__(self) -> None:
        self.folders: dict[Path, int] = {}


_used = _Used()


def use(folder: Path) -> bool:
    """Keep a version where it is until this thread calls ``keep``; False if the folder holds no complete one."""
    if folder not in _used.folders:
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            return False
        fcntl.flock(handle, fcntl.LOCK_SH)  # waits while another process removes it
        if not (folder / MARKER).is_file():
            os.close(handle)
            return False
        _used.folders[folder] = handle
        os.utime(folder)  # the oldest leaves first
    return (folder / MARKER).is_file()


def keep(folders: Collection[Path]) -> None:
    """This thread goes on using these versions, and no others."""
    for folder in _used.folders.keys() - set(folders):
        os.close(_used.folders.pop(folder))


def make_room(root: Path, most: float, stored: Callable[[Path], object]) -> list[Path]:
    """Remove versions, the longest unused first, until all hold at most ``most`` bytes; what was removed.

    Only versions that nobody uses and that are ``stored`` elsewhere, which the function says of a folder.
    """
    folders = sorted((path.parent for path in root.rglob(MARKER)), key=lambda folder: folder.stat().st_mtime)
    sizes = {each: sum(file["bytes"] for file in read_marker(each)["files"].values()) for each in folders}
    total, removed = sum(sizes.values()), list[Path]()
    for folder in folders:
        if total <= most:
            break
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if stored(folder):
                (folder / MARKER).unlink()
                sync(folder)
                shutil.rmtree(folder)
                total -= sizes[folder]
                removed.append(folder)
        except BlockingIOError:  # in use
            continue
        finally:
            os.close(handle)
    return removed
