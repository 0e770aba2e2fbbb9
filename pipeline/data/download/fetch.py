"""Downloads of a data set: into a hidden folder, hashed, then moved into place, and recorded beside the data.

``checksums.json`` in the data set's folder holds what every archive was when it first came. From then on an archive
that differs is an error, whatever put it there.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pooch
import requests

from pipeline.data.archives import damage
from pipeline.data.download.sources import RemoteFile
from pipeline.data.download.transfer import HEADERS, Progress, Resuming
from pipeline.errors import ContentDiffers, TransferFailed
from pipeline.store.locks import locked
from pipeline.store.versions import write_file

CHECKSUMS = "checksums.json"
KEPT = ".archives"
"""Folder of archives that were unpacked: hidden, so that no image counts twice."""
STAGING = ".download"
_TIMEOUT = 20.0  # seconds for a site's record
_FORGET = f"look at what changed, then remove its entry from {CHECKSUMS}"
_LATER = "try again later: the site's record and its file do not belong together"
_CORRECT = "look at what changed, then correct its row in pipeline/data/download/sources.py"
_AGAIN = "it was not kept; give the same command again, as it may have been damaged on the way"
_REMOVE = "if it is damaged, remove it and download it again"


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A checksum that a file must have, as ``algorithm:hex``, and who says so."""

    checksum: str
    said_by: str
    otherwise: str  # what to do where the publisher replaced the file


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A file in its place."""

    path: Path
    size: int  # bytes
    sha256: str
    came: bool  # False: it was there
    expected: tuple[Expected, ...]  # what it was compared with; empty where it was seen for the first time


def address(file: RemoteFile, dataset: str, base: str = "") -> str:
    """Where the file comes from: below ``base`` as ``<data set>/<name>``, or its own place; empty without one."""
    return f"{base.rstrip('/')}/{quote(dataset)}/{quote(file.name)}" if base else file.url


def published(record: str) -> dict[str, str]:
    """Checksums (``algorithm:hex``) by file name out of a site's own record, as Zenodo or Mendeley Data give it.

    Raises ``TransferFailed`` where the record cannot be had or is of another form.
    """
    try:
        with requests.get(record, headers=HEADERS, timeout=_TIMEOUT) as answer:
            answer.raise_for_status()
            content = answer.json()
        rows = content["files"] if isinstance(content, dict) else content
        return {row.get("key") or row["filename"]: _checksum(row) for row in rows}
    except (requests.RequestException, KeyError, TypeError, AttributeError) as error:
        raise TransferFailed(f"{record}: expected a list of files with checksums, got: {error!r}") from error


def _checksum(row: Mapping[str, Any]) -> str:
    if "content_details" in row:  # Mendeley Data
        return f"sha256:{row['content_details']['sha256_hash']}"
    return cast(str, row["checksum"])


def recorded(folder: Path) -> dict[str, dict[str, Any]]:
    """What is recorded of the archives in a data set's folder, by their path in it."""
    path = folder / CHECKSUMS
    if not path.exists():
        return {}
    try:
        return cast(dict[str, dict[str, Any]], json.loads(path.read_text()))
    except ValueError as error:
        raise ContentDiffers(f"{path}: expected JSON, got: {error}; remove the file to record anew") from error


def as_recorded(name: str, folder: Path) -> Expected | None:
    """What is recorded of one archive; None where it was not seen before."""
    entry = recorded(folder).get(name)
    if entry is None:
        return None
    said_by = f"{CHECKSUMS}, {entry['recorded']}"
    return Expected(checksum=f"sha256:{entry['sha256']}", said_by=said_by, otherwise=_FORGET)


def expectations(file: RemoteFile, folder: Path, site: Mapping[str, str]) -> tuple[Expected, ...]:
    """All that is known of a file's content before it comes: recorded here, published by the site, reported."""
    found = []
    if (known := as_recorded(file.name, folder)) is not None:
        found.append(known)
    if file.name in site:
        found.append(Expected(checksum=site[file.name], said_by="the site's own record", otherwise=_LATER))
    if file.sha256:
        found.append(Expected(checksum=f"sha256:{file.sha256}", said_by=file.said_by, otherwise=_CORRECT))
    return tuple(found)


def fetch(
    file: RemoteFile,
    folder: Path,
    url: str,
    *,
    site: Mapping[str, str] | None = None,
    progress: Progress = lambda have, total: None,
    wait: float = 1.0,
) -> Fetched:
    """Bring a file into ``folder``, going on with what came earlier; one that is there is only compared.

    ``site`` are the checksums that the site publishes, ``wait`` the seconds before a second attempt. Raises
    ``TransferFailed`` where it does not come, ``ContentDiffers`` where it is not what is known of it.
    """
    if (there := where(folder, file.name)) is not None:
        return _seen(there, folder, expectations(file, folder, site or {}), url, came=False)
    staging = folder / STAGING / file.name
    staging.mkdir(parents=True, exist_ok=True)
    with locked(staging / "one.lock", file.name):
        expected = expectations(file, folder, site or {})
        if (there := where(folder, file.name)) is not None:  # another process was first
            return _seen(there, folder, expected, url, came=False)
        part = staging / f"{file.name}.part"
        _check_space(file, folder, part)
        came = _retrieve(file, staging, url, expected, Resuming(part=part, progress=progress, wait=wait))
        try:
            compare(came, expected[1:], _AGAIN)
            if not expected and (why := damage(came)):  # what is recorded now is enforced ever after
                raise ContentDiffers(f"{url}: expected a whole archive: {why}; {_AGAIN}")
        except ContentDiffers:
            came.unlink()
            raise
        os.replace(came, folder / file.name)
        shutil.rmtree(staging)
    if not any(staging.parent.iterdir()):
        staging.parent.rmdir()
    return _seen(folder / file.name, folder, expected, url, came=True)


def where(folder: Path, name: str) -> Path | None:
    """An archive in the data set's folder, or among those that were unpacked; None where there is none."""
    return next((path for path in (folder / name, folder / KEPT / name) if path.is_file()), None)


def name_in(folder: Path, archive: Path) -> str:
    """Path of an archive in a data set's folder, the same after it was unpacked."""
    return archive.relative_to(folder).as_posix().removeprefix(f"{KEPT}/")


def compare(path: Path, expected: tuple[Expected, ...], advice: str = _REMOVE) -> None:
    """Raise ``ContentDiffers``, with advice for a damaged file, where a file has not every checksum it must have."""
    for item in expected:
        algorithm, _, digest = item.checksum.rpartition(":")
        got = pooch.file_hash(str(path), alg=algorithm)
        if got != digest.lower():
            what = f"{path.name}: expected {item.checksum} ({item.said_by}), got {got}"
            raise ContentDiffers(f"{what}; {advice}; if its publisher replaced it, {item.otherwise}")


def record(path: Path, folder: Path, url: str, sha256: str = "") -> str:
    """Write down what an archive is, unless that is recorded already; its SHA-256, computed where it is not given."""
    known, name = recorded(folder), name_in(folder, path)
    if name not in known:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        digest = sha256 or pooch.file_hash(str(path), alg="sha256")
        known[name] = {"sha256": digest, "bytes": path.stat().st_size, "from": url, "recorded": now}
        write_file(folder / CHECKSUMS, json.dumps(known, indent=1, sort_keys=True).encode())
    return cast(str, known[name]["sha256"])


def _seen(path: Path, folder: Path, expected: tuple[Expected, ...], url: str, *, came: bool) -> Fetched:
    if not came:
        compare(path, expected)
    known = [item.checksum.removeprefix("sha256:") for item in expected if item.checksum.startswith("sha256:")]
    digest = record(path, folder, url, known[0] if known else "")
    return Fetched(path=path, size=path.stat().st_size, sha256=digest, came=came, expected=expected)


def _retrieve(file: RemoteFile, staging: Path, url: str, expected: tuple[Expected, ...], downloader: Resuming) -> Path:
    pooch.get_logger().setLevel("WARNING")
    known = expected[0].checksum if expected else None
    try:
        return Path(pooch.retrieve(url, known, fname=file.name, path=staging, downloader=downloader))
    except ValueError as error:  # pooch says expected and got
        if not expected:
            raise
        first = expected[0]
        what = f"{url}: {str(error).partition('. ')[0]} ({first.said_by})"
        raise ContentDiffers(f"{what}; {_AGAIN}; if its publisher replaced it, {first.otherwise}") from error
    except OSError as error:
        raise TransferFailed(f"{staging}: cannot be written: {error}; what came is kept") from error


def _check_space(file: RemoteFile, folder: Path, part: Path) -> None:
    """Refuse to begin what cannot fit."""
    need = file.size - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise TransferFailed(f"{folder}: expected room for {need} more bytes of {file.name}, got {free}; make some")
