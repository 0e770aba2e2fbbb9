"""Locks between machines: objects written under a condition, renewed while their holder lives.

A holder writes its lease anew all the time. Whoever waits takes it over when it has not changed for ``LEASE`` seconds
by the waiter's own clock, so clocks need not agree.
"""

import contextlib
import json
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.errors import ProxyAnoError, TransferFailed
from pipeline.store.locks import Warn, describe_holder
from pipeline.store.remote import Moved, Remote

LEASE = 60.0  # seconds without renewal after which a lease is free; an outage of its holder may last that long
POLL = 0.5  # seconds between two looks at a lease that another holds
_log = logging.getLogger(__name__)


class Lease:
    """A lease that this process holds; ``lost`` once another has taken it over."""

    def __init__(self, remote: Remote, name: str, about: Mapping[str, Any], tag: str, seconds: float) -> None:
        self.name, self.lost = name, False
        self._remote, self._about, self._tag, self._seconds = remote, dict(about), tag, seconds
        self._lock, self._over, self._owner = threading.Lock(), threading.Event(), threading.current_thread()
        self._finalizer = weakref.finalize(self._owner, self.release)  # also at exit
        threading.Thread(target=self._renew, name=f"lease of {name}", daemon=True).start()

    def release(self) -> None:
        """Let others have it."""
        self._over.set()
        self._finalizer.detach()
        with self._lock, contextlib.suppress(Moved, TransferFailed):
            if not self.lost:
                self._remote.write(self.name, _content(self._about, free=True), after=self._tag)
                self.lost = True

    def _renew(self) -> None:
        while not self._over.wait(self._seconds / 4) and self._owner.is_alive():
            with self._lock, contextlib.suppress(TransferFailed):
                try:
                    if not (self.lost or self._over.is_set()):
                        self._tag = self._remote.write(self.name, _content(self._about), after=self._tag)
                except Moved:
                    self.lost = True
                    _log.error("%s: another machine has taken it over, as it was not renewed in time", self.name)
        self.release()


def take(
    remote: Remote,
    name: str,
    about: Mapping[str, Any],
    *,
    home: str,
    warn: Warn,
    every: float = 60,
    seconds: float = LEASE,
) -> Lease:
    """Wait for the lease ``name`` and hold it; ``warn`` gets who holds it, at once and then ``every`` seconds.

    A lease of the same ``home`` is taken over at once: its kernel lock, which the caller holds, was freed.
    """
    about = {"pid": os.getpid(), "host": socket.gethostname(), **about, "home": home, "token": uuid4().hex}
    seen, since, told = None, 0.0, -float("inf")
    while True:
        found = remote.read(name)
        tag = found and found[1]
        other = _parsed(found[0]) if found else {"free": True}
        now = time.monotonic()
        if tag != seen:
            seen, since = tag, now
        if other.get("free") or other.get("home") == home or now - since > seconds:
            with contextlib.suppress(Moved):
                return Lease(remote, name, about, remote.write(name, _content(about), after=tag), seconds)
            continue
        if now - told > every:
            asset = other.get("asset", Path(name).parent.as_posix())
            warn(f"{asset}: {describe_holder(other)} is building it; waiting until it finishes")
            told = now
        time.sleep(min(POLL, seconds / 4))


def home_name(root: Path) -> str:
    """A name for the store in a folder that no other machine and no copy of the folder has."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    machine = boot.read_text().strip() if boot.is_file() else ""
    return f"{socket.gethostname()} {machine} {root.resolve()} {root.stat().st_ino}"


class LeaseLost(ProxyAnoError):
    """A build took longer than its lease lived, and another machine builds the same."""


def _content(about: Mapping[str, Any], *, free: bool = False) -> bytes:
    """A lease as it is written, each time another."""
    return json.dumps({**about, "free": free, "beat": uuid4().hex}).encode()


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(content))
    except ValueError:  # damaged: nobody's
        return {"free": True}
