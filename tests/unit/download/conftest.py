"""A file server of this machine that can be told to misbehave."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest


@dataclass
class Files:
    """What the server has, how it behaves, and what it was asked."""

    url: str = ""
    content: dict[str, bytes] = field(default_factory=dict)  # path → bytes
    ranges: bool = True  # False: Range is not understood
    cuts: list[int] = field(default_factory=list)  # bytes after which the next answers end early
    stalls: int | None = None  # bytes after which every answer waits until ``go`` is set
    go: threading.Event = field(default_factory=threading.Event)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # status and headers of the next ones
    kind: str = "application/zip"
    asked: list[dict[str, str]] = field(default_factory=list)  # headers of every request

    @property
    def ranges_asked(self) -> list[str]:
        return [headers.get("Range", "") for headers in self.asked]


class Handler(BaseHTTPRequestHandler):
    """Answers of ``Files``; one connection each."""

    files: Files

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest's output is for tests."""

    def do_GET(self) -> None:
        files = self.files
        files.asked.append(dict(self.headers))
        if files.answers:
            status, headers = files.answers.pop(0)
            self._head(status, headers | {"Content-Length": "0"})
            return
        whole = files.content.get(unquote(urlsplit(self.path).path).lstrip("/"))
        if whole is None:
            self._head(404, {"Content-Length": "0"})
            return
        start, marks = self._start(whole), {"Content-Type": files.kind}
        if start is not None and start >= len(whole):
            self._head(416, marks | {"Content-Range": f"bytes */{len(whole)}", "Content-Length": "0"})
            return
        body = whole[start or 0 :]
        if start is not None:
            marks["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        self._head(200 if start is None else 206, marks | {"Content-Length": str(len(body))})
        if files.stalls is not None:
            self.wfile.write(body[: files.stalls])
            files.go.wait(30)
            return
        self.wfile.write(body[: files.cuts.pop(0)] if files.cuts else body)

    def _start(self, whole: bytes) -> int | None:
        """First byte that is wanted, or None for all of it."""
        wanted = self.headers.get("Range", "")
        if not wanted or not self.files.ranges:
            return None
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture
def files() -> Iterator[Files]:
    """A running server."""
    served = Files()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Handler,), {"files": served}))
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.go.set()
    server.shutdown()
    thread.join()
    server.server_close()
