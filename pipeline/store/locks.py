"""One process at a time: kernel locks on files below ``locks/``, freed by the kernel when their holder dies.

Lock files may be removed by whoever holds them; a waiter then finds its file unlinked and starts over.
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
POLL = 0.1  # seconds between two looks at a lock that another process holds
Warn = Callable[[str], object]
_log = logging.getLogger(__name__)
_here = threading.local()  # .held: store root → (lock folder, lock), the one that this thread holds there


@contextmanager
def locked(path: Path, asset: str) -> Iterator[None]:
    """Hold one lock for the length of a block; a second holder waits, and says so."""
    with _acquired(path, lambda: _log.warning("%s: another run holds %s; waiting until it has finished", asset, path)):
        yield


@contextmanager
def all_free(folder: Path, *, taking: bool) -> Iterator[bool]:
    """True, with every lock of the folder held, where no process held any; False otherwise.

    With ``taking`` a ``run.lock`` is made where there was none, so that nobody begins; without it no file changes.
    """
    with ExitStack() as stack:
        for path in sorted({*folder.glob("*.lock"), *([folder / RUN] if taking else [])}):
            lock = FileLock(path, thread_local=False)
            try:
                _take(lock, 0)
            except Timeout:
                yield False
                return
            stack.callback(lock.release)
        yield True


def hold(root: Path, folder: Path, holder: Mapping[str, Any], *, warn: Warn = _log.warning, every: float = 60) -> None:
    """Hold ``folder``/run.lock from here on, until this thread holds another below ``root``, lets go, or ends.

    ``holder`` is what a second process tells its user while it waits: at once and then ``every`` so many seconds,
    through ``warn``. What was held before is let go first, so that no two processes wait for each other.
    """
    held = _held()
    if root not in held or held[root][0] != folder:
        let_go(root)
        lock = FileLock(folder / RUN, thread_local=False)
        _wait(lock, folder, warn, every)
        held[root] = (folder, lock)
    about = {"pid": os.getpid(), "host": socket.gethostname(), **holder}
    beside = folder / f".{HOLDER}.{os.getpid()}.tmp"
    beside.write_text(json.dumps(about))  # only told to waiting users, so it need not survive a power cut
    beside.replace(folder / HOLDER)


def let_go(root: Path) -> None:
    """Free what this thread holds below ``root``; nothing happens where it holds none."""
    if (held := _held().pop(root, None)) is not None:
        held[1].release()


def holder_of(folder: Path) -> dict[str, Any]:
    """What the last holder of ``folder``/run.lock wrote about itself; empty where it wrote nothing yet."""
    with contextlib.suppress(FileNotFoundError):
        about: dict[str, Any] = json.loads((folder / HOLDER).read_text())
        return about
    return {}


def told(about: Mapping[str, Any]) -> str:
    """A holder in words."""
    who = f"process {about.get('pid', 'unknown')} on {about.get('host', 'unknown host')}"
    run = f", Dagster run {about['dagster_run']}" if about.get("dagster_run") else ""
    return f"{who}{run}"


def _held() -> dict[Path, tuple[Path, FileLock]]:
    if not hasattr(_here, "held"):
        _here.held = {}
    held: dict[Path, tuple[Path, FileLock]] = _here.held
    return held


def _wait(lock: FileLock, folder: Path, warn: Warn, every: float) -> None:
    patience = 0.5  # seconds: a holder that has just come needs a moment to say who it is
    while True:
        try:
            _take(lock, patience)
        except Timeout:
            about = holder_of(folder)
            warn(f"{about.get('asset', folder.name)}: {told(about)} is at it; waiting until it has finished")
            patience = every
        else:
            return


def _take(lock: FileLock, timeout: float) -> None:
    """Acquire a lock within ``timeout`` seconds (-1: whenever), in a folder that a clean may remove meanwhile."""
    while True:
        try:
            lock.acquire(timeout=timeout, poll_interval=POLL)
        except FileNotFoundError:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        else:
            return


@contextmanager
def _acquired(path: Path, on_wait: Callable[[], object]) -> Iterator[None]:
    lock = FileLock(path, thread_local=False)
    try:
        _take(lock, 0)
    except Timeout:
        on_wait()
        _take(lock, -1)
    try:
        yield
    finally:
        lock.release()
