"""Download one archive: into a hidden folder, checked, then moved into place and recorded.

pooch downloads and retries. Its HTTP downloader is given a part file to append to, so that a cut download resumes. If
the file changed on the server in between, its checksums or the archive's own checksums fail and it is downloaded again.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pooch
import requests

from pipeline.data.archives import damage
from pipeline.data.download.checksums import HEADERS, UNPACKED, Checksums, compare, known_checksums, record
from pipeline.data.download.sources import RemoteFile
from pipeline.errors import ContentDiffers, TransferFailed
from pipeline.store.locks import locked

STAGING = ".download"
RETRIES = 4  # of a cut connection or a busy server, a few seconds apart
_BLOCK = 1 << 16  # bytes
_AGAIN = "it was removed; run the same command again, as it may have been damaged on the way"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """An archive in its place."""

    path: Path
    sha256: str
    downloaded: bool  # False: it was there already
    checked: Checksums  # what it was compared with; empty where it is new


def address(file: RemoteFile, dataset: str, mirror: str = "") -> str:
    """URL of a file: ``<mirror>/<data set>/<name>``, or the one in the table of sources."""
    return f"{mirror.rstrip('/')}/{quote(dataset)}/{quote(file.name)}" if mirror else file.url


def find_archive(folder: Path, name: str) -> Path | None:
    """An archive in the data set's folder, or among those that were unpacked."""
    return next((path for path in (folder / name, folder / UNPACKED / name) if path.is_file()), None)


def fetch(
    file: RemoteFile,
    folder: Path,
    url: str,
    *,
    site: Mapping[str, str] | None = None,  # checksums that the site publishes
    progress: bool = False,
) -> Fetched:
    """Download a file into ``folder``, resuming an earlier attempt; a file that is there is only checked.

    Raises ``TransferFailed`` where the download fails, ``ContentDiffers`` where a checksum does not match.
    """
    checksums, downloaded = known_checksums(file, folder, site or {}), False
    if find_archive(folder, file.name) is None:
        staging = folder / STAGING / file.name
        staging.mkdir(parents=True, exist_ok=True)
        with locked(staging / "download.lock", file.name):
            if find_archive(folder, file.name) is None:  # no other process was first
                os.replace(_download(file, staging, url, checksums, progress), folder / file.name)
                downloaded = True
            shutil.rmtree(staging)
        if not any(staging.parent.iterdir()):
            staging.parent.rmdir()
    path = find_archive(folder, file.name) or folder / file.name
    if not downloaded:
        compare(path, checksums, "if it is damaged, remove it and download it again")
    return Fetched(path=path, sha256=record(path, folder, url), downloaded=downloaded, checked=checksums)


def _download(file: RemoteFile, staging: Path, url: str, checksums: Checksums, progress: bool) -> Path:
    """The complete and checked file in the staging folder."""
    part = staging / f"{file.name}.part"
    _check_space(file, staging, part)
    downloads = pooch.create(
        staging, base_url="", registry={file.name: None}, urls={file.name: url}, retry_if_failed=RETRIES
    )
    try:
        path = Path(downloads.fetch(file.name, downloader=partial(_resume, part, progress)))
    except OSError as error:  # requests' errors are OSErrors too
        raise TransferFailed(
            f"{url}: the download failed: {error}; {_size(part)} bytes are kept, the same command resumes"
        ) from error
    try:
        compare(path, checksums, _AGAIN)
        if not checksums and (reason := damage(path)):  # the first copy is recorded and enforced from then on
            raise ContentDiffers(f"{url}: expected a whole archive: {reason}; {_AGAIN}")
    except ContentDiffers:
        path.unlink()
        raise
    return path


def _resume(part: Path, progress: bool, url: str, target: str, _pooch: object) -> None:
    """A pooch downloader that appends to ``part`` and moves it to ``target`` when it is complete."""
    with part.open("ab") as file:

        def check_response(response: requests.Response, **_: Any) -> None:
            if response.ok and response.headers.get("Content-Type", "").startswith("text/html"):
                raise TransferFailed(
                    f"{url}: expected an archive, got a web page; the site requires a login or a browser"
                )
            if response.status_code in (401, 403, 404, 410):
                raise TransferFailed(f"{url}: expected the file, got HTTP {response.status_code} {response.reason}")
            if response.status_code in (requests.codes.ok, requests.codes.requested_range_not_satisfiable):
                file.truncate(0)  # the whole file comes, or what is there belongs to another file: start over

        headers = HEADERS | ({"Range": f"bytes={file.tell()}-"} if file.tell() else {})
        hooks = {"response": check_response}
        pooch.HTTPDownloader(progress, _BLOCK, headers=headers, hooks=hooks)(url, file, None)
    os.replace(part, target)


def _check_space(file: RemoteFile, folder: Path, part: Path) -> None:
    need, free = file.size - _size(part), shutil.disk_usage(folder).free
    if need > free:
        raise TransferFailed(
            f"{folder}: expected room for {need} more bytes of {file.name}, got {free}; free some space"
        )


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
