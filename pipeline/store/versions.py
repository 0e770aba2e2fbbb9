"""Immutable, versioned folders: a build is written to a work folder, hashed and renamed; its marker comes last.

Layout below ``root``, for an asset such as ``oct/tiles``:

    work/<asset>/<key>/             a build in progress; survives a kill, so that the next run resumes it
    versions/<asset>/<version>/     finished content, named by its content hash; complete if it has COMPLETE.json
    built/<asset>/<key>.json        the version that a finished build gave, so that it is not built again
    current/<asset>.json            the version that readers get
    notes/<asset>/<version>.json    minutes and memory of the build that made it
    origins/<asset>/<version>.json  provenance: inputs, code and runs
    locks/<asset>/<name>.lock       one builder at a time
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import NeverMaterialized, StoreCorrupt
from pipeline.store import locks
from pipeline.store.file_hashes import file_names, hash_file, hash_folder, sync_folder
from pipeline.store.provenance import Provenance, read_records, with_record

MARKER = "COMPLETE.json"
_ASSET = re.compile(r"[A-Za-z0-9_\-]+(/[A-Za-z0-9_\-]+)*")
_NAME = re.compile(r"[A-Za-z0-9_\-]+")
HEX = re.compile(r"[0-9a-f]{16,64}")
"""Pattern of data versions and of the keys of builds."""


@dataclass(frozen=True)
class Version:
    """One published version of an asset; ``path`` is its folder, ``meta`` what its builder recorded (JSON)."""

    asset: str
    path: Path
    data_version: str
    meta: dict[str, Any]


class Store:
    """The versions of all assets below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def work(self, asset: str, key: str) -> Path:
        """Scratch folder of a build; survives a kill. ``key`` is the fingerprint of inputs, configuration and code."""
        folder = self._path("work", asset) / _checked(key, _NAME)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def building(self, asset: str, key: str) -> Iterator[Path]:
        """Lock the build (asset, key) and give its work folder; waits, with a warning, for another builder."""
        with locks.locked(self.lock_folder(asset) / f"build-{_checked(key, _NAME)}.lock", asset):
            work = self.work(asset, key)
            yield work
            if work.exists() and not any(work.iterdir()):
                work.rmdir()

    def built(self, asset: str, key: str) -> Version | None:
        """The version that an equal build gave; None if there was none or its version was removed."""
        record = self._path("built", asset) / f"{_checked(key, _NAME)}.json"
        if not record.is_file():
            return None
        data_version = json.loads(record.read_text())["data_version"]
        return self.get(asset, data_version) if (self.folder(asset, data_version) / MARKER).is_file() else None

    def publish(self, asset: str, work: Path, data_version: str, meta: Mapping[str, Any]) -> Version:
        """Turn a work folder, or a folder inside it, into a version, and remove the rest of the work folder.

        If a complete version with this data version exists, it stays unchanged, including its ``meta``.
        """
        target = self.folder(asset, data_version)
        builds = self._path("work", asset)
        build = builds / work.relative_to(builds).parts[0] if work.is_relative_to(builds) else None
        with locks.locked(self.lock_folder(asset) / f"publish-{data_version}.lock", asset):
            if (target / MARKER).is_file():
                shutil.rmtree(work)
            else:
                self._move(asset, work, data_version, meta)
            if build is not None:
                _write_json(self._path("built", asset) / f"{build.name}.json", {"data_version": data_version})
                if build.exists():
                    shutil.rmtree(build)
        return self.get(asset, data_version)

    def _move(self, asset: str, work: Path, data_version: str, meta: Mapping[str, Any]) -> None:
        """Hash the files of ``work``, move it to its place and write the marker."""
        target = self.folder(asset, data_version)
        for leftover in [*work.rglob(".*.tmp"), *work.rglob("*.partial")]:  # of killed writes, ours and zarr's
            leftover.unlink()
        files = hash_folder(work)
        if not files:
            raise ValueError(f"{asset}: nothing to publish, {work} holds no file")
        content = {"asset": asset, "data_version": data_version, "meta": dict(meta), "files": files, "created": _now()}
        text = json.dumps(content, indent=1)
        if target.exists():  # a run was killed between the rename and the marker
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        work.rename(target)
        sync_folder(target.parent)
        write_file(target / MARKER, text.encode())

    def point(self, version: Version) -> None:
        """Make a complete version the one that readers get, in one atomic step."""
        complete = self.get(version.asset, version.data_version)
        _write_json(self.root / "current" / f"{version.asset}.json", {"data_version": complete.data_version})

    def current(self, asset: str) -> Version:
        """The version that readers get; raises ``NeverMaterialized`` if there is none."""
        pointed = self.pointed(asset)
        if pointed is None:
            line = "dagster asset materialize --select '*evaluation_report'"
            raise NeverMaterialized(f"{asset} has never been materialized; run: {line}")
        return self.get(asset, pointed)

    def pointed(self, asset: str) -> str | None:
        """Data version of the current version, even if its files were removed; None if there is none."""
        pointer = self._path("current", asset).with_suffix(".json")
        return str(json.loads(pointer.read_text())["data_version"]) if pointer.is_file() else None

    def get(self, asset: str, data_version: str) -> Version:
        """A version by its hash; raises ``StoreCorrupt`` if it has no completion marker."""
        folder = self.folder(asset, data_version)
        if not (folder / MARKER).is_file():
            what = f"{asset} {data_version}: expected {folder / MARKER}, got none"
            raise StoreCorrupt(f"{what}; materialize {asset} again")
        return Version(asset=asset, path=folder, data_version=data_version, meta=_read_marker(folder)["meta"])

    def assets(self) -> list[str]:
        """Every asset that has a complete version."""
        top = self.root / "versions"
        return sorted({path.parent.parent.relative_to(top).as_posix() for path in top.rglob(MARKER)})

    def versions(self, asset: str) -> list[Version]:
        """The complete versions of an asset, oldest first."""
        found = self._path("versions", asset).glob(f"*/{MARKER}")
        listed = [self.get(asset, path.parent.name) for path in found]
        return sorted(listed, key=lambda version: (self.marker(version)["created"], version.data_version))

    def marker(self, version: Version) -> dict[str, Any]:
        """The completion marker: asset, data_version, meta, created (ISO 8601) and files (sizes and hashes)."""
        return _read_marker(version.path)

    def note(self, version: Version, values: Mapping[str, Any]) -> dict[str, Any]:
        """Store facts about a version's build (minutes, memory) unless there are some; returns what is stored."""
        path = self._path("notes", version.asset) / f"{version.data_version}.json"
        if not path.is_file():
            _write_json(path, values)
        return self.noted(version)

    def noted(self, version: Version) -> dict[str, Any]:
        """The notes of a version; empty if there are none."""
        path = self._path("notes", version.asset) / f"{version.data_version}.json"
        noted: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        return noted

    def record_provenance(self, version: Version, provenance: Provenance) -> None:
        """Record how a version was made; an equal record that exists becomes the newest again."""
        path = self._provenance_file(version.asset, version.data_version)
        new = replace(provenance, published=self.marker(version)["created"], created=_now())
        with locks.locked(self.lock_folder(version.asset) / f"origin-{version.data_version}.lock", version.asset):
            before = read_records(path)
            if (after := with_record(before, new)) != before:
                write_file(path, json.dumps([dataclasses.asdict(record) for record in after], indent=1).encode())

    def provenance(self, asset: str, data_version: str) -> Provenance | None:
        """The newest provenance record of a version; None if there is none."""
        records = read_records(self._provenance_file(asset, data_version))
        return records[-1] if records else None

    def differences(
        self, version: Version, progress: Callable[[int], object] = lambda size: None
    ) -> dict[str, tuple[Any, Any]]:
        """Hash every file again: file → (expected, got) for each that differs from the marker; None for no file.

        ``progress`` gets the size of every block of bytes read.
        """
        expected = self.marker(version)["files"]
        got = {name: hash_file(version.path / name, progress) for name in file_names(version.path) if name != MARKER}
        names = sorted(expected.keys() | got.keys())
        return {name: (expected.get(name), got.get(name)) for name in names if expected.get(name) != got.get(name)}

    def verify(self, version: Version) -> None:
        """Hash every file again; raises ``StoreCorrupt`` with the files that differ from the marker."""
        wrong = self.differences(version)
        if wrong:
            what = ", ".join(f"{name}: expected {want}, got {got}" for name, (want, got) in list(wrong.items())[:3])
            where = f"{version.asset} {version.data_version} in {version.path}"
            raise StoreCorrupt(f"{where}: {len(wrong)} files differ ({what}); delete the folder and materialize again")

    def lock(self, asset: str, holder: Mapping[str, Any], *, warn: locks.Warn, every: float = 60) -> None:
        """Take the asset's build lock; held until this thread locks another asset, calls ``release`` or ends.

        A waiting process shows ``holder`` through its ``warn`` every ``every`` seconds. The lock outlasts the build
        itself: it covers the pointer that the IO manager moves and the event that Dagster stores.
        """
        locks.acquire(self.root.resolve(), self.lock_folder(asset), {"asset": asset, **holder}, warn=warn, every=every)

    def release(self) -> None:
        """Release the build lock that this thread holds, if any."""
        locks.release(self.root.resolve())

    def lock_folder(self, asset: str) -> Path:
        """Folder of an asset's locks."""
        return self.root.resolve() / "locks" / _checked(asset, _ASSET)

    def folder(self, asset: str, data_version: str) -> Path:
        """Folder of a version, whether it exists or not."""
        return self._path("versions", asset) / _checked(data_version, HEX)

    def _provenance_file(self, asset: str, data_version: str) -> Path:
        return self._path("origins", asset) / f"{_checked(data_version, HEX)}.json"

    def _path(self, kind: str, asset: str) -> Path:
        return self.root / kind / _checked(asset, _ASSET)


def _read_marker(folder: Path) -> dict[str, Any]:
    try:
        marker: dict[str, Any] = json.loads((folder / MARKER).read_text())
    except ValueError as error:
        raise StoreCorrupt(f"{folder / MARKER} is no JSON: {error}; delete the folder and materialize again") from error
    return marker


def fingerprint(*parts: Any) -> str:
    """First 16 hex digits of the SHA-256 of the parts as canonical JSON; dataclasses count as their fields."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_file(path, json.dumps(dict(content)).encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically: temporary sibling, fsync, replace. Readers see the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"a fingerprint takes JSON values and dataclasses, got {type(value).__name__}: {value!r}")


def _checked(text: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"expected a name like {pattern.pattern!r}, got {text!r}")
    return text
