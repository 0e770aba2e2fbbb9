"""Objects of a bucket; every call is repeated through an outage.

Layout below the URL, beside the records (``built/``, ``current/``, ``notes/``, ``origins/``), as in a store on disk:

    files/<ab>/<sha256>                          content of files, whichever versions hold them
    versions/<asset>/<version>/COMPLETE.json     a version's marker, written after its files
    locks/<asset>/<name>.json                    leases, see ``leases``
    work/<asset>/<key>/<task>.json               what a finished task of a cluster gave, see ``workers``
    work/<asset>/<key>/files/<ab>/<sha256>       content of files that its tasks need or gave, but no version holds
    damaged/…                                    what was found damaged
"""

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import from_url

from pipeline.errors import REMEDY, ConfigError, ProxyAnoError, StoreCorrupt, TransferFailed
from pipeline.store.files import hash_file, sync

PATIENCE = 300.0  # seconds that an outage may last
FILES = "files"  # prefix of the content of files
ANY = ""  # as ``after``: whatever the object holds
PIECE = 16 * 2**20  # bytes of a file that are read at once
_LONGEST = 5.0  # seconds between two attempts
_Answer = TypeVar("_Answer")
_REFUSED = re.compile(r"status code: 40[04]\b")  # no such bucket, or a request that it does not understand
_log = logging.getLogger(__name__)


class Moved(ProxyAnoError):
    """An object is no longer what a writer has read."""


class Remote:
    """Objects below a URL such as ``s3://bucket/prefix``; access keys and endpoint come from the environment (AWS_…).

    Raises ``TransferFailed`` after an outage of ``patience`` seconds, ``ConfigError`` where access is refused, which
    names the ``variable`` that holds the URL.
    """

    def __init__(self, url: str, *, patience: float = PATIENCE, variable: str = "PROXYANO_STORE") -> None:
        self.url, self.patience, self.variable = url.rstrip("/"), patience, variable
        waits: Any = {"allow_http": True, "connect_timeout": "5s", "timeout": "60s"}
        few: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}  # the rest is done, and told, here
        try:
            self._store: Any = from_url(self.url, client_options=waits, retry_config=few)
        except (BaseError, TypeError, ValueError) as error:
            raise ConfigError(f"{variable}: expected a URL like s3://bucket/prefix, got {url!r}: {error}") from error

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Content and ETag of an object; None if there is none."""

        def get() -> tuple[bytes, str]:
            found = obstore.get(self._store, name)
            return bytes(found.bytes()), str(found.meta["e_tag"])

        return self._missing(get)

    def write(self, name: str, content: bytes, *, after: str | None = ANY) -> str:
        """Write an object and give its ETag; ``Moved`` unless it has the ETag ``after`` (None: does not exist yet).

        A write whose answer was lost is found again by its content.
        """
        mode: Any = "overwrite" if after == ANY else "create" if after is None else {"e_tag": after}
        try:
            return str(self._patiently(lambda: obstore.put(self._store, name, content, mode=mode))["e_tag"])
        except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
            if after == ANY or (after is None and isinstance(error, FileNotFoundError)):
                raise ConfigError(f"{self.variable}: {self.url} cannot be written: {_first_line(error)}") from error
            there = self.read(name)
            if there is not None and there[0] == content:
                return there[1]
            raise Moved(f"{self.url}/{name} was written by another process") from error

    def names(self, prefix: str) -> list[str]:
        """Names of all objects below a prefix."""
        return self._patiently(lambda: [item["path"] for some in obstore.list(self._store, prefix) for item in some])

    def objects(self) -> dict[str, tuple[str, int]]:
        """Every object → its ETag and bytes."""
        listed = self._patiently(lambda: [item for some in obstore.list(self._store) for item in some])
        return {item["path"]: (str(item["e_tag"] or item["last_modified"]), int(item["size"])) for item in listed}

    def fetch(self, name: str, path: Path) -> tuple[str, int]:
        """Write an object to a file, atomically; gives its ETag and bytes. ``FileNotFoundError`` if there is none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.tmp")

        def get() -> tuple[str, int]:
            found = obstore.get(self._store, name)
            with partial.open("wb") as file:
                for piece in found.stream(min_chunk_size=PIECE):
                    file.write(piece)
            return str(found.meta["e_tag"] or found.meta["last_modified"]), int(found.meta["size"])

        got = self._patiently(get)
        if partial.stat().st_size != got[1]:
            raise TransferFailed(f"{self.url}/{name}: expected {got[1]} bytes, got {partial.stat().st_size}")
        os.replace(partial, path)
        return got

    def size(self, name: str) -> int | None:
        """Bytes of an object; None if there is none."""
        return self._missing(lambda: int(obstore.head(self._store, name)["size"]))

    def remove(self, names: list[str]) -> None:
        """Remove objects, if they exist."""
        if names:
            self._patiently(lambda: obstore.delete(self._store, names))

    def set_aside(self, name: str) -> None:
        """Give an object that cannot be trusted another name, so that whoever has or makes it stores it again."""
        self._missing(lambda: obstore.rename(self._store, name, f"damaged/{name}"))

    def upload(self, path: Path, wanted: Mapping[str, Any], below: str = FILES) -> None:
        """Store the content of a file unless it is there; ``StoreCorrupt`` if the file is not the ``wanted`` one."""
        name = object_of(wanted, below)
        if self.size(name) == wanted["bytes"]:
            return
        if (got := hash_file(path)) != wanted:
            raise StoreCorrupt(f"{path} is damaged: expected {wanted}, got {got}{REMEDY}")
        self._patiently(lambda: obstore.put(self._store, name, path))

    def download(self, wanted: Mapping[str, Any], path: Path, below: str = FILES) -> None:
        """Write stored content to a file, atomically, unless it holds it.

        Damaged content is fetched again once, then set aside: ``StoreCorrupt``.
        """
        if path.is_file() and hash_file(path) == wanted:
            return
        name, got, partial = object_of(wanted, below), "no such object", path.with_name(f".{path.name}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            if (size := self.size(name)) is None:
                break
            with partial.open("wb") as file:
                for start in range(0, size, PIECE):
                    file.write(self._piece(name, start, min(start + PIECE, size)))
            if (there := hash_file(partial)) == wanted:
                sync(partial)
                os.replace(partial, path)
                return
            got = f"{size} bytes of sha256 {there['sha256'][:16]}…"
            _log.warning("%s/%s is damaged; it is fetched again", self.url, name)
        partial.unlink(missing_ok=True)
        self.set_aside(name)
        expected = f"{wanted['bytes']} bytes of sha256 {wanted['sha256'][:16]}…"
        raise StoreCorrupt(f"{self.url}/{name} is damaged: expected {expected}, got {got}{REMEDY}")

    def _piece(self, name: str, start: int, end: int) -> bytes:
        return self._patiently(lambda: bytes(obstore.get_range(self._store, name, start=start, end=end)))

    def _missing(self, call: Callable[[], _Answer]) -> _Answer | None:
        """What a call gives; None if there is no such object."""
        try:
            return self._patiently(call)
        except FileNotFoundError:
            return None

    def _patiently(self, call: Callable[[], _Answer]) -> _Answer:
        end, pause = time.monotonic() + self.patience, 0.2
        while True:
            try:
                return call()
            except GenericError as error:
                if _REFUSED.search(str(error)):
                    raise ConfigError(f"{self.variable}: {self.url} cannot be used: {_reason(error)}") from error
                if time.monotonic() + pause > end:
                    told = f"{self.url} has not answered for {self.patience:.0f} s: {_first_line(error)}"
                    raise TransferFailed(f"{told}; check the network, then run the same command again") from error
                _log.warning("%s does not answer; trying again: %s", self.url, _first_line(error))
            except (PermissionDeniedError, UnauthenticatedError) as error:
                raise ConfigError(f"{self.variable}: {self.url} refuses access: {_first_line(error)}") from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST)


@cache
def connect(url: str) -> Remote:
    """The remote store at a URL, opened once per process."""
    return Remote(url)


def object_of(wanted: Mapping[str, Any], below: str = FILES) -> str:
    """Name of the object with the content of a file of this hash."""
    return f"{below}/{wanted['sha256'][:2]}/{wanted['sha256']}"


def _reason(error: Exception) -> str:
    """What an S3 server says in its answer, or the first line."""
    told = re.search(r"<Message>(.*?)</Message>", str(error))
    return told[1] if told else _first_line(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
