"""One file over HTTP that goes on where it was cut: a downloader for pooch.

What has come lies in a ``.part`` file; beside it stands of which version of the remote file it is a part (strong ETag,
or Last-Modified). The rest is asked for by Range with If-Range, so a file that changed meanwhile comes anew, as does
one whose server knows no ranges or gives neither mark.
"""

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from pipeline.errors import TransferFailed
from pipeline.store.versions import write_file

Progress = Callable[[int, int | None], object]
"""Told of bytes there so far, and of all of them where the server says how many."""
HEADERS = {"User-Agent": "proxyano (research pipeline)", "Accept-Encoding": "identity"}
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers that another attempt may change
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_BLOCK = 1 << 16  # bytes read at a time; what a kill can lose
_LONGEST = 60.0  # seconds between two attempts at most


class Interrupted(Exception):
    """An attempt ended early; ``after`` is how long the server wants to be left alone, in seconds."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


@dataclass(kw_only=True)
class Resuming:
    """A pooch downloader; call it with an address and a file that does not exist or may be replaced.

    Raises ``TransferFailed`` after ``attempts`` in a row without a new byte, and at once where the server refuses.
    """

    part: Path
    progress: Progress = lambda have, total: None
    attempts: int = 5
    wait: float = 1.0  # seconds before the second attempt; doubled before each further one
    timeout: float = 30.0  # seconds without a byte

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Bring the whole of ``url`` to ``output_file``."""
        best, failures = self._have(), 0
        while True:
            try:
                self._attempt(url)
                break
            except Interrupted as error:
                failures = 1 if self._have() > best else failures + 1
                best = max(best, self._have())
                if failures >= self.attempts:
                    raise TransferFailed(
                        f"{url}: {self.attempts} attempts in a row brought nothing new, the last one: {error}; "
                        f"{self._have()} bytes are kept, the same command goes on from there"
                    ) from error
                time.sleep(min(max(self.wait * 2 ** (failures - 1), error.after), _LONGEST))
        os.replace(self.part, output_file)
        self._state_file.unlink()

    @property
    def _state_file(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _begun(self, url: str) -> dict[str, Any]:
        """What the part is part of; empty where it cannot be gone on with."""
        if not self._have() or not self._state_file.exists():
            return {}
        state: dict[str, Any] = json.loads(self._state_file.read_text())
        return state if state["url"] == url and state["validator"] else {}

    def _attempt(self, url: str) -> None:
        state = self._begun(url)
        have = self._have() if state else 0
        if state and state["total"] == have:  # a kill came between the last byte and the rename
            return
        resume = {"Range": f"bytes={have}-", "If-Range": state["validator"]} if state else {}
        try:
            with requests.get(url, headers=HEADERS | resume, stream=True, timeout=self.timeout) as answer:
                self._receive(answer, url, state, have)
        except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
            raise Interrupted(str(error)) from error
        except requests.RequestException as error:
            raise TransferFailed(f"{url}: expected an address that answers, got: {error}") from error

    def _receive(self, answer: requests.Response, url: str, state: dict[str, Any], have: int) -> None:
        _accepted(answer, url)
        start = self._start(answer, state, have)
        length = answer.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        record = {"url": url, "validator": _validator(answer), "total": total}
        write_file(self._state_file, json.dumps(record).encode())
        with self.part.open("ab" if start else "wb") as file:
            self.progress(start, total)
            for block in answer.raw.stream(_BLOCK, decode_content=False):
                file.write(block)
                self.progress(file.tell(), total)
            file.flush()
            os.fsync(file.fileno())
        if total is not None and self._have() != total:
            raise Interrupted(f"the connection ended after {self._have()} of {total} bytes")

    def _start(self, answer: requests.Response, state: dict[str, Any], have: int) -> int:
        """Where in the file the answer begins; raises ``Interrupted`` where it does not fit what is there."""
        if answer.status_code == 200:
            return 0
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        fits = found is not None and int(found[1]) == have and _validator(answer) in ("", state.get("validator"))
        if answer.status_code == 416 or not fits:
            self._state_file.unlink(missing_ok=True)
            raise Interrupted("the file changed at the server, it comes anew")
        return have


def _accepted(answer: requests.Response, url: str) -> None:
    """Raise where the answer is no part of a file, with what to do."""
    if answer.status_code in _AGAIN:
        after = answer.headers.get("Retry-After", "")
        raise Interrupted(f"HTTP {answer.status_code}", float(after) if after.isdecimal() else 0.0)
    if answer.status_code not in (200, 206, 416):
        raise TransferFailed(f"{url}: expected the file, got HTTP {answer.status_code} {answer.reason}")
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise TransferFailed(f"{url}: expected an archive, got a web page; the site wants a login or a browser")


def _validator(answer: requests.Response) -> str:
    """What names this version of the file in If-Range; empty where the server gives nothing that does."""
    tag: str = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")
