"""Locks between processes: kernel locks on files, which the kernel frees when their holder dies.

Whoever holds a lock may remove its file. A waiting process then notices that and starts over.
"""

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

RUN = "run.lock"
HOLDER = "run.json"
POLL = 0.1  # seconds between two attempts to take a lock that another process holds
Warn = Callable[[str], object]
_log = logging.getLogger(__name__)


class _Held(threading.local):
    """The locks of this thread: store root → lock folder and lock."""

    def __init__(self) -> None:
        self.locks: dict[Path, tuple[Path, FileLock]] = {}


_held = _Held()


@contextmanager
def locked(path: Path, asset: str) -> Iterator[None]:
    """Hold the lock file ``path``; waits, with a warning, while another process holds it."""
    lock = FileLock(path, thread_local=False)
    if not _taken(lock, 0):
        _log.warning("%s: another run holds %s; waiting until it finishes", asset, path)
        _taken(lock, -1)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def all_locked(folder: Path, *, create: bool) -> Iterator[bool]:
    """Hold every lock of a folder, with ``create`` a new run.lock too; yields False if another process holds one."""
    with ExitStack() as stack:
        for path in sorted({*folder.glob("*.lock"), *([folder / RUN] if create else [])}):
            lock = FileLock(path, thread_local=False)
            if not _taken(lock, 0):
                yield False
                return
            stack.callback(lock.release)
        yield True


def acquire(root: Path, folder: Path, holder: Mapping[str, Any], *, warn: Warn, every: float) -> None:
    """Hold ``folder``/run.lock until this thread acquires another lock below ``root``, releases it, or ends.

    While another process holds it, its ``holder`` is shown through ``warn`` every ``every`` seconds. The thread's last
    lock is released first, so that no two processes wait for each other.
    """
    if root not in _held.locks or _held.locks[root][0] != folder:
        release(root)
        lock = FileLock(folder / RUN, thread_local=False)
        timeout = 0.5  # seconds: a new holder needs a moment to write who it is
        while not _taken(lock, timeout):
            other = read_holder(folder)
            asset = other.get("asset", folder.name)
            warn(f"{asset}: {describe_holder(other)} is building it; waiting until it finishes")
            timeout = every
        _held.locks[root] = (folder, lock)
    about = {"pid": os.getpid(), "host": socket.gethostname(), **holder}
    temporary = folder / f".{HOLDER}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(about))  # only shown to waiting users, so it need not survive a power cut
    temporary.replace(folder / HOLDER)


def release(root: Path) -> None:
    """Release the lock that this thread holds below ``root``, if any."""
    if (held := _held.locks.pop(root, None)) is not None:
        held[1].release()


def read_holder(folder: Path) -> dict[str, Any]:
    """What the last holder of ``folder``/run.lock wrote about itself; empty if nothing yet."""
    with contextlib.suppress(FileNotFoundError, ValueError):  # a power cut may leave it empty
        return dict(json.loads((folder / HOLDER).read_text()))
    return {}


def describe_holder(about: Mapping[str, Any]) -> str:
    """Process, host and Dagster run of a holder in words."""
    run = f", Dagster run {about['dagster_run']}" if about.get("dagster_run") else ""
    return f"process {about.get('pid', 'unknown')} on {about.get('host', 'unknown host')}{run}"


def _taken(lock: FileLock, timeout: float) -> bool:
    """Take a lock within ``timeout`` seconds (-1: no limit); False if another process still holds it."""
    while True:
        try:
            lock.acquire(timeout=timeout, poll_interval=POLL)
        except FileNotFoundError:  # a clean removed the folder meanwhile
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        except Timeout:
            return False
        else:
            return True
