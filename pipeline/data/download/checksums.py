"""Checksums of downloaded archives: published by the site, reported by others, recorded at the first download.

``checksums.json`` in a data set's folder records each archive when it first arrives. From then on an archive that
differs is an error, whether it was downloaded or placed by hand.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pooch
import requests

from pipeline.data.download.sources import RemoteFile
from pipeline.errors import ContentDiffers, TransferFailed
from pipeline.store.versions import write_file

CHECKSUMS = "checksums.json"
UNPACKED = ".archives"
"""Folder of archives that were unpacked; hidden, so that no image counts twice."""
HEADERS = {"User-Agent": "proxyano (research pipeline)", "Accept-Encoding": "identity"}
_TIMEOUT = 20.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Checksum:
    """A checksum that a file must have."""

    value: str  # "algorithm:hex"
    source: str  # who published or recorded it
    if_replaced: str  # what to do where the publisher replaced the file


def published(url: str) -> dict[str, str]:
    """Checksums (``algorithm:hex``) by file name, from the file list that Zenodo or Mendeley Data publish at ``url``.

    Raises ``TransferFailed`` where the list cannot be fetched or has an unknown format.
    """
    try:
        with requests.get(url, headers=HEADERS, timeout=_TIMEOUT) as response:
            response.raise_for_status()
            content = response.json()
        rows = content["files"] if isinstance(content, dict) else content
        return {row.get("key") or row["filename"]: _checksum(row) for row in rows}
    except (requests.RequestException, KeyError, TypeError, AttributeError) as error:
        raise TransferFailed(f"{url}: expected a list of files with checksums, got: {error!r}") from error


def _checksum(row: Mapping[str, Any]) -> str:
    if "content_details" in row:  # Mendeley Data
        return f"sha256:{row['content_details']['sha256_hash']}"
    return cast(str, row["checksum"])


def recorded(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of a data set's folder, by the archive's path in it."""
    path = folder / CHECKSUMS
    if not path.exists():
        return {}
    try:
        return cast(dict[str, dict[str, Any]], json.loads(path.read_text()))
    except ValueError as error:
        raise ContentDiffers(f"{path}: expected JSON, got: {error}; remove the file to record anew") from error


def recorded_checksum(name: str, folder: Path) -> tuple[Checksum, ...]:
    """The checksum recorded for one archive; empty where it is new."""
    entry = recorded(folder).get(name)
    if entry is None:
        return ()
    source, remedy = (
        f"{CHECKSUMS}, {entry['recorded']}",
        f"look at what changed, then remove its entry from {CHECKSUMS}",
    )
    return (Checksum(value=f"sha256:{entry['sha256']}", source=source, if_replaced=remedy),)


def known_checksums(file: RemoteFile, folder: Path, site: Mapping[str, str]) -> tuple[Checksum, ...]:
    """All checksums of a file: recorded in ``folder``, published by the ``site``, reported in the table of sources."""
    known = list(recorded_checksum(file.name, folder))
    if file.name in site:
        remedy = "try again later: the site's record and its file do not match"
        known.append(Checksum(value=site[file.name], source="the site's own record", if_replaced=remedy))
    if file.sha256:
        remedy = "look at what changed, then correct its row in pipeline/data/download/sources.py"
        known.append(Checksum(value=f"sha256:{file.sha256}", source=file.said_by, if_replaced=remedy))
    return tuple(known)


def compare(path: Path, checksums: tuple[Checksum, ...], remedy: str) -> None:
    """Raise ``ContentDiffers``, with the remedy for a damaged file, where a checksum does not match."""
    for checksum in checksums:
        algorithm, _, digest = checksum.value.rpartition(":")
        got = pooch.file_hash(str(path), alg=algorithm)
        if got != digest.lower():
            raise ContentDiffers(
                f"{path.name}: expected {checksum.value} ({checksum.source}), got {got}; {remedy}; "
                f"if its publisher replaced it, {checksum.if_replaced}"
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
