"""Checksums of downloaded archives: published by the site, reported by others, recorded at the first download.

``checksums.json`` in a data set's folder records each archive when it first arrives. From then on an archive that
differs is an error, whether it was downloaded or placed by hand.
"""

import json
from collections.abc import Mapping
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
SOURCES_FILE = "pipeline/data/download/sources.py"
_TIMEOUT = 20.0  # seconds


Checksums = dict[str, str]
"""Checksums that one file must have, as ``algorithm:hex``, by who published or recorded them."""


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
        raise ContentDiffers(f"{path}: expected JSON, got: {error}; remove the file to record again") from error


def recorded_checksum(name: str, folder: Path) -> Checksums:
    """The checksum recorded for one archive; empty where it is new."""
    entry = recorded(folder).get(name)
    return {} if entry is None else {f"{CHECKSUMS}, {entry['recorded']}": f"sha256:{entry['sha256']}"}


def known_checksums(file: RemoteFile, folder: Path, site: Mapping[str, str]) -> Checksums:
    """All checksums of a file: recorded in ``folder``, published by the ``site``, reported in the table of sources."""
    known = recorded_checksum(file.name, folder)
    if file.name in site:
        known["the site's own record"] = site[file.name]
    if file.sha256:
        known[file.reported_by] = f"sha256:{file.sha256}"
    return known


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
