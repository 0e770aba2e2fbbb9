"""Immutable, versioned folders: written beside their place, hashed, renamed, and the marker comes last.

Layout below ``root``, an asset being ``oct/tiles`` or the like:

    work/<asset>/<key>/             one build in progress; survives a kill, so that the next run resumes it
    versions/<asset>/<version>/     finished content, named by its content hash; COMPLETE.json means whole
    built/<asset>/<key>.json        which version a finished build gave, so that an equal build is not done twice
    current/<asset>.json            the version that readers get
    notes/<asset>/<version>.json    minutes and memory of the build that made it
    origins/<asset>/<version>.json  what it was made from: inputs, code, runs (``origins``)
    locks/<asset>/<name>.lock       one builder at a time (``locks``)
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
from pipeline.store.file_hashes import differences, seal, sync_folder
from pipeline.store.provenance import OriginRecord, Origins

MARKER = "COMPLETE.json"
_ASSET = re.compile(r"[A-Za-z0-9_\-]+(/[A-Za-z0-9_\-]+)*")
_NAME = re.compile(r"[A-Za-z0-9_\-]+")
HEX = re.compile(r"[0-9a-f]{16,64}")
"""Data versions, and the keys of builds."""


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
        """Scratch folder of one build, kept over a kill; ``key`` is the fingerprint of inputs, config and code."""
        folder = self.root / "work" / _checked(asset, _ASSET) / _checked(key, _NAME)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def building(self, asset: str, key: str) -> Iterator[Path]:
        """Hold the one build of (asset, key) and give its work folder; a second builder waits, and says so."""
        with locks.locked(self.lock_folder(asset) / f"build-{_checked(key, _NAME)}.lock", asset):
            work = self.work(asset, key)
            yield work
            if work.exists() and not any(work.iterdir()):
                work.rmdir()

    def built(self, asset: str, key: str) -> Version | None:
        """What an equal build has given before, or None if there was none or its version was removed since."""
        record = self.root / "built" / _checked(asset, _ASSET) / f"{_checked(key, _NAME)}.json"
        if not record.is_file():
            return None
        data_version = json.loads(record.read_text())["data_version"]
        return self.get(asset, data_version) if (self.folder(asset, data_version) / MARKER).is_file() else None

    def publish(self, asset: str, work: Path, data_version: str, meta: Mapping[str, Any]) -> Version:
        """Turn a work folder, or a folder inside it, into an immutable version and drop the rest of the work folder.

        A version with the same data version that is complete is kept as it is, its ``meta`` too.
        """
        target = self.folder(asset, data_version)
        build = self._build_of(asset, work)
        with locks.locked(self.lock_folder(asset) / f"publish-{data_version}.lock", asset):
            if (target / MARKER).is_file():
                shutil.rmtree(work)
            else:
                for leftover in [*work.rglob(".*.tmp"), *work.rglob("*.partial")]:  # of killed writes, ours and zarr's
                    leftover.unlink()
                files = seal(work)
                if not files:
                    raise ValueError(f"{asset}: nothing to publish, {work} holds no file")
                content = {"asset": asset, "data_version": data_version, "meta": dict(meta), "files": files}
                content["created"] = datetime.now(UTC).isoformat(timespec="seconds")
                text = json.dumps(content, indent=1)
                if target.exists():  # a run was killed between the rename and the marker
                    shutil.rmtree(target)
                target.parent.mkdir(parents=True, exist_ok=True)
                work.rename(target)
                sync_folder(target.parent)
                write_file(target / MARKER, text.encode())
            if build is not None:
                record = self.root / "built" / asset / f"{build.name}.json"
                write_file(record, json.dumps({"data_version": data_version}).encode())
                if build.exists():
                    shutil.rmtree(build)
        return self.get(asset, data_version)

    def point(self, version: Version) -> None:
        """Make it the version that readers get; they see the old or the new one, never neither."""
        record = {"data_version": self.get(version.asset, version.data_version).data_version}
        write_file(self.root / "current" / f"{version.asset}.json", json.dumps(record).encode())

    def current(self, asset: str) -> Version:
        """The version that readers get; raises ``NeverMaterialized`` where there is none yet."""
        pointed = self.pointed(asset)
        if pointed is None:
            line = "dagster asset materialize --select '*evaluation_report'"
            raise NeverMaterialized(f"{asset} has never been materialized; run: {line}")
        return self.get(asset, pointed)

    def pointed(self, asset: str) -> str | None:
        """Data version of the current version, whether the store still holds it or not; None where there is none."""
        pointer = self.root / "current" / f"{_checked(asset, _ASSET)}.json"
        return str(json.loads(pointer.read_text())["data_version"]) if pointer.is_file() else None

    def get(self, asset: str, data_version: str) -> Version:
        """One version by its hash; raises ``StoreCorrupt`` where it has no completion marker."""
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
        found = (self.root / "versions" / _checked(asset, _ASSET)).glob(f"*/{MARKER}")
        listed = [self.get(asset, path.parent.name) for path in found]
        return sorted(listed, key=lambda version: (self.marker(version)["created"], version.data_version))

    def marker(self, version: Version) -> dict[str, Any]:
        """The completion marker: asset, data_version, meta, created (ISO 8601) and files (sizes and hashes)."""
        return _read_marker(version.path)

    def note(self, version: Version, values: Mapping[str, Any]) -> dict[str, Any]:
        """Remember what is known of a version but no part of it (minutes, memory); the first note stays."""
        path = self.root / "notes" / version.asset / f"{version.data_version}.json"
        if not path.is_file():
            write_file(path, json.dumps(dict(values)).encode())
        return self.noted(version)

    def noted(self, version: Version) -> dict[str, Any]:
        """What was noted of a version; empty where nothing was."""
        path = self.root / "notes" / version.asset / f"{version.data_version}.json"
        noted: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        return noted

    def record_origin(self, version: Version, origin: OriginRecord) -> None:
        """Remember where a version came from; an origin that is known already becomes the newest again."""
        path = self._origins(version.asset, version.data_version)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        new = replace(origin, published=self.marker(version)["created"], created=now)
        with locks.locked(self.lock_folder(version.asset) / f"origin-{version.data_version}.lock", version.asset):
            before = Origins.read(path)
            if (after := before.joined(new)) != before:
                write_file(path, after.as_bytes())

    def origin(self, asset: str, data_version: str) -> OriginRecord | None:
        """The origin that counts for a version; None where none was recorded."""
        return Origins.read(self._origins(asset, data_version)).newest

    def differences(
        self, version: Version, seen: Callable[[int], object] = lambda size: None
    ) -> dict[str, tuple[Any, Any]]:
        """Hash every file again: file → (expected, got) where it is not what the marker says."""
        return differences(version.path, self.marker(version)["files"], besides=MARKER, seen=seen)

    def verify(self, version: Version) -> None:
        """Hash every file again; raises ``StoreCorrupt`` naming the files that differ from the marker."""
        wrong = self.differences(version)
        if wrong:
            what = ", ".join(f"{name}: expected {want}, got {got}" for name, (want, got) in list(wrong.items())[:3])
            where = f"{version.asset} {version.data_version} in {version.path}"
            raise StoreCorrupt(f"{where}: {len(wrong)} files differ ({what}); delete the folder and materialize again")

    def exclusive(self, asset: str, holder: Mapping[str, Any], *, warn: locks.Warn, every: float = 60) -> None:
        """Be the only process that builds ``asset``, from here on until this thread takes the next one or releases.

        A second process waits and tells ``holder`` through its ``warn``, every so many seconds. It covers what follows
        a build: the pointer that the IO manager moves and the event that Dagster stores. A kill frees it.
        """
        locks.hold(self.root.resolve(), self.lock_folder(asset), {"asset": asset, **holder}, warn=warn, every=every)

    def release(self) -> None:
        """Let go the asset that this thread holds, if any."""
        locks.let_go(self.root.resolve())

    def lock_folder(self, asset: str) -> Path:
        """Folder of an asset's locks."""
        return self.root.resolve() / "locks" / _checked(asset, _ASSET)

    def _origins(self, asset: str, data_version: str) -> Path:
        return self.root / "origins" / _checked(asset, _ASSET) / f"{_checked(data_version, HEX)}.json"

    def _build_of(self, asset: str, folder: Path) -> Path | None:
        """The work folder, root/work/<asset>/<key>, that holds ``folder``; None for a folder from elsewhere."""
        builds = self.root / "work" / _checked(asset, _ASSET)
        return builds / folder.relative_to(builds).parts[0] if folder.is_relative_to(builds) else None

    def folder(self, asset: str, data_version: str) -> Path:
        """Where a version lies, or would."""
        return self.root / "versions" / _checked(asset, _ASSET) / _checked(data_version, HEX)


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


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that readers and a kill see all of it or nothing: temporary sibling, fsync, replace."""
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
