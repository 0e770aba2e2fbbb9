"""Download one archive: into a hidden folder, checked, then moved into place and recorded. Unpack it if asked.

From its first record in ``checksums.json`` on, an archive that differs is an error, downloaded or placed by hand.
"""

import json
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pooch
import requests

from pipeline.data.archive_members import tar_members, zip_members
from pipeline.data.archives import ARCHIVES, BROKEN, damage
from pipeline.data.download.sources import RemoteFile
from pipeline.data.walk import walk
from pipeline.errors import ContentDiffers, TransferFailed
from pipeline.store.files import write_file
from pipeline.store.locks import locked

CHECKSUMS = "checksums.json"
UNPACKED = ".archives"  # folder of archives that were unpacked; hidden, so that no image counts twice
STAGING = ".download"
HEADERS = {"User-Agent": "proxyano (research pipeline)", "Accept-Encoding": "identity"}
SOURCES_FILE = "pipeline/data/download/sources.py"
RETRIES = 4  # of a cut connection or a busy server, a few seconds apart
_TIMEOUT = 20.0  # seconds
_BLOCK = 1 << 16  # bytes
_AGAIN = "it was removed; run the same command again, as it may have been damaged on the way"

Checksums = dict[str, str]  # checksums that one file must have, as ``algorithm:hex``, by who published or recorded them


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


def published(url: str) -> dict[str, str]:
    """Checksums (``algorithm:hex``) by file name, from the list that Zenodo or Mendeley Data publish at ``url``."""
    try:
        with requests.get(url, headers=HEADERS, timeout=_TIMEOUT) as response:
            response.raise_for_status()
            content = response.json()
        if isinstance(content, dict):
            return {row["key"]: row["checksum"] for row in content["files"]}
        return {row["filename"]: f"sha256:{row['content_details']['sha256_hash']}" for row in content}
    except (requests.RequestException, KeyError, TypeError, AttributeError) as error:
        raise TransferFailed(f"{url}: expected a list of files with checksums, got: {error!r}") from error


def recorded(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of a data set's folder, by the archive's path in it."""
    path = folder / CHECKSUMS
    try:
        return cast(dict[str, dict[str, Any]], json.loads(path.read_text())) if path.exists() else {}
    except ValueError as error:
        raise ContentDiffers(f"{path}: expected JSON, got: {error}; remove the file to record again") from error


def recorded_checksum(name: str, folder: Path) -> Checksums:
    """The checksum recorded for one archive; empty where it is new."""
    entry = recorded(folder).get(name)
    return {} if entry is None else {f"{CHECKSUMS}, {entry['recorded']}": f"sha256:{entry['sha256']}"}


def compare(path: Path, checksums: Checksums, remedy: str) -> None:
    """Raise ``ContentDiffers``, with the remedy for a damaged file, where a checksum does not match."""
    for source, checksum in checksums.items():
        algorithm, _, digest = checksum.rpartition(":")
        got = pooch.file_hash(str(path), alg=algorithm)
        if got != digest.lower():
            raise ContentDiffers(
                f"{path.name}: expected {checksum} ({source}), got {got}; {remedy}; if its publisher replaced it, "
                f"look at what changed, then remove its entry from {CHECKSUMS} or correct its row in {SOURCES_FILE}"
            )


def record(path: Path, folder: Path, url: str) -> str:
    """Record an archive's SHA-256 unless it is recorded already, and return it."""
    known, name = recorded(folder), original_name(folder, path)
    if name not in known:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        digest = pooch.file_hash(str(path), alg="sha256")
        known[name] = {"sha256": digest, "bytes": path.stat().st_size, "from": url, "recorded": now}
        write_file(folder / CHECKSUMS, json.dumps(known, indent=1, sort_keys=True).encode())
    return cast(str, known[name]["sha256"])


def original_name(folder: Path, archive: Path) -> str:
    """Path of an archive in a data set's folder, the same before and after it was unpacked."""
    return archive.relative_to(folder).as_posix().removeprefix(f"{UNPACKED}/")


def find_archive(folder: Path, name: str) -> Path | None:
    """An archive in the data set's folder, or among those that were unpacked."""
    return next((path for path in (folder / name, folder / UNPACKED / name) if path.is_file()), None)


def archives_in(folder: Path) -> list[Path]:
    """Archives in the folder and below it except hidden ones, sorted."""
    return [path for _, path in walk(folder, Counter()) if path.name.lower().endswith(ARCHIVES) and path.is_file()]


def fetch(
    file: RemoteFile, folder: Path, url: str, *, site: Mapping[str, str] | None = None, progress: bool = False
) -> Fetched:
    """Download a file into ``folder``, resuming an earlier attempt; a file that is there is only checked.

    It is compared with the checksums recorded in ``folder``, published by the ``site`` and reported in the table of
    sources. Raises ``TransferFailed`` where the download fails, ``ContentDiffers`` where a checksum does not match.
    """
    checksums, downloaded = recorded_checksum(file.name, folder), False
    if site and file.name in site:
        checksums["the site's own record"] = site[file.name]
    if file.sha256:
        checksums[file.reported_by] = f"sha256:{file.sha256}"
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
    """The complete and checked file in the staging folder; a part file stays, so that a cut download resumes."""
    part = staging / f"{file.name}.part"
    need, free = file.size - _size(part), shutil.disk_usage(staging).free
    if need > free:
        room = f"expected room for {need} more bytes of {file.name}, got {free}; free some space"
        raise TransferFailed(f"{staging}: {room}")
    registry, urls = {file.name: None}, {file.name: url}
    downloads = pooch.create(staging, base_url="", registry=registry, urls=urls, retry_if_failed=RETRIES)
    try:
        path = Path(downloads.fetch(file.name, downloader=partial(_resume, part, progress)))
    except OSError as error:  # requests' errors are OSErrors too
        kept = f"{_size(part)} bytes are kept, the same command resumes"
        raise TransferFailed(f"{url}: the download failed: {error}; {kept}") from error
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
                got = "got a web page; the site requires a login or a browser"
                raise TransferFailed(f"{url}: expected an archive, {got}")
            if response.status_code in (401, 403, 404, 410):
                raise TransferFailed(f"{url}: expected the file, got HTTP {response.status_code} {response.reason}")
            if response.status_code in (requests.codes.ok, requests.codes.requested_range_not_satisfiable):
                file.truncate(0)  # the whole file comes, or what is there belongs to another file: start over

        headers = HEADERS | ({"Range": f"bytes={file.tell()}-"} if file.tell() else {})
        hooks = {"response": check_response}
        pooch.HTTPDownloader(progress, _BLOCK, headers=headers, hooks=hooks)(url, file, None)
    os.replace(part, target)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive into a new folder below ``folder`` and return it: its single top folder, or one of its name.

    The archive stays. Raises ``ContentDiffers``, and leaves nothing new, where it is damaged, has members, links or
    devices outside the folder, or where the new folder exists.
    """
    stem = next(archive.name[: -len(end)] for end in ARCHIVES if archive.name.lower().endswith(end))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as beside:
        made = Path(beside, stem)
        made.mkdir()
        try:
            _extract(archive, made)
        except BROKEN as error:
            reason = f"cannot be unpacked: {error}; if it is damaged, download it again"
            raise ContentDiffers(f"{archive}: {reason}") from error
        shutil.rmtree(made / "__MACOSX", ignore_errors=True)  # added by macOS, as are files ._*
        for path in list(made.rglob("._*")):
            path.unlink()
        tops = list(made.iterdir())
        made = tops[0] if len(tops) == 1 and tops[0].is_dir() else made
        target = folder / made.name
        if target.exists():
            raise ContentDiffers(f"{target}: expected no such folder yet; remove or rename it to unpack {archive.name}")
        made.rename(target)
    return target


def _extract(archive: Path, folder: Path) -> None:
    extract: Callable[[Path], None]
    with zipfile.ZipFile(archive) if zipfile.is_zipfile(archive) else tarfile.open(archive) as packed:
        if isinstance(packed, zipfile.ZipFile):
            if refused := zip_members(packed)[1]:
                raise ContentDiffers(f"{archive}: {refused}")
            need = sum(item.file_size for item in packed.infolist())
            extract = partial(_extract_zip, packed)
        else:
            need, extract = sum(item.size for item in tar_members(packed)), partial(packed.extractall, filter="data")
        if need > (free := shutil.disk_usage(folder).free):
            raise ContentDiffers(f"{archive}: expected room for {need} bytes, got {free}; free some space")
        extract(folder)


def _extract_zip(packed: zipfile.ZipFile, folder: Path) -> None:
    for item in packed.infolist():
        item.filename = item.filename.replace("\\", "/")  # of old Windows tools; zipfile keeps all of it in the folder
        packed.extract(item, folder)
