"""Immutable, versioned folders: a build is written to a work folder, hashed and renamed; its marker comes last.

Layout below ``root``, for an asset such as ``oct/tiles``:

    work/<asset>/<key>/             a build in progress; survives a kill, so that the next run resumes it
    versions/<asset>/<version>/     finished content, named by its content hash; complete if it has COMPLETE.json
    built/<asset>/<key>.json        the version that a finished build gave, so that it is not built again
    current/<asset>.json            the version that readers get
    notes/<asset>/<version>.json    minutes, CPU seconds and memory of the build that made it
    origins/<asset>/<version>.json  provenance: inputs, code and runs
    locks/<asset>/<name>.lock       one builder at a time
"""

import dataclasses
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import REMEDY, NeverMaterialized, StoreCorrupt
from pipeline.store import locks, verify
from pipeline.store.files import FileHash, hash_folder, sync, write_file
from pipeline.store.provenance import Provenance, read_record, write_record
from pipeline.store.verify import MARKER

SET_ASIDE = "DAMAGED.json"  # the marker of a version that was found damaged, until it is built again
_ASSET = re.compile(r"[A-Za-z0-9_\-]+(/[A-Za-z0-9_\-]+)*")
_NAME = re.compile(r"[A-Za-z0-9_\-]+")
HEX = re.compile(r"[0-9a-f]{16,64}")  # data versions and keys of builds
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """One published version of an asset; ``path`` is its folder, ``meta`` what its builder recorded (JSON)."""

    asset: str
    path: Path
    data_version: str
    meta: dict[str, Any]


class Store:
    """The versions of all assets below one folder."""

    shared = False  # whether they lie in a bucket, too

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
        """The version that an equal build gave; None if there was none or its version was removed or is damaged."""
        record = self._read("built", asset, key)
        if record is None:
            return None
        with self._publishing(asset, record.data_version):
            sound = self._sound(asset, record.data_version)
        return self.get(asset, record.data_version) if sound else None

    def publish(
        self,
        asset: str,
        work: Path,
        data_version: str,
        meta: Mapping[str, Any],
        known: Mapping[str, FileHash] | None = None,
    ) -> Version:
        """Turn a work folder, or one inside it, into a version unless it exists, and remove the rest of it.

        ``known`` are hashes of files that were copied from another version.
        """
        target = self.folder(asset, data_version)
        builds = self._path("work", asset)
        build = builds / work.relative_to(builds).parts[0] if work.is_relative_to(builds) else None
        with self._publishing(asset, data_version):
            if self._sound(asset, data_version):
                shutil.rmtree(work)
            else:
                for leftover in [*work.rglob(".*.tmp"), *work.rglob("*.partial")]:  # of killed writes, ours and zarr's
                    leftover.unlink()
                if not (files := hash_folder(work, known)):
                    raise ValueError(f"{asset}: nothing to publish, {work} holds no file")
                about = {"asset": asset, "data_version": data_version, "meta": dict(meta), "files": files}
                marker = verify.sealed({**about, "created": _now()})  # first, as ``meta`` may be no JSON
                if target.exists():  # damaged, or a run was killed between the rename and the marker
                    shutil.rmtree(target)
                target.parent.mkdir(parents=True, exist_ok=True)
                work.rename(target)
                sync(target.parent)
                write_file(target / MARKER, marker)
            if build is not None:
                self._write("built", asset, build.name, {"data_version": data_version})
                if build.exists():
                    shutil.rmtree(build)
        return self.get(asset, data_version)

    def point(self, version: Version) -> None:
        """Make a complete version the one that readers get, in one atomic step."""
        complete = self.get(version.asset, version.data_version)
        self._write("current", version.asset, "", {"data_version": complete.data_version})

    def current(self, asset: str) -> Version:
        """The version that readers get, as ``opened``; raises ``NeverMaterialized`` if there is none."""
        if (pointed := self.pointed(asset)) is None:
            raise NeverMaterialized(f"{asset} has never been materialized; run: proxyano refresh --select '*{asset}'")
        return self.opened(asset, pointed)

    def opened(self, asset: str, data_version: str) -> Version:
        """A version to read from; raises ``StoreCorrupt`` for a damaged file, see ``verify``."""
        version = self.get(asset, data_version)
        verify.check(version.path)
        return version

    def pointed(self, asset: str) -> str | None:
        """Data version of the current version, even if its files were removed; None if there is none."""
        pointer = self._read("current", asset)
        return None if pointer is None else str(pointer.data_version)

    def get(self, asset: str, data_version: str) -> Version:
        """A version by its hash; raises ``StoreCorrupt`` if it has no completion marker, or a damaged one."""
        return self.known(asset, data_version)

    def known(self, asset: str, data_version: str) -> Version:
        """As ``get``, but for its marker alone: of a store in a bucket, its files may not be on this disk."""
        folder = self.folder(asset, data_version)
        if not (folder / MARKER).is_file():
            raise StoreCorrupt(f"{asset} {data_version}: expected {folder / MARKER}, got no such file{REMEDY}")
        return Version(asset, folder, data_version, verify.read_marker(folder)["meta"])

    def assets(self) -> list[str]:
        """Every asset that has a complete version."""
        top = self.root / "versions"
        return sorted({path.parent.parent.relative_to(top).as_posix() for path in top.rglob(MARKER)})

    def share(self) -> list[Version]:
        """Store what is on this disk alone in the bucket, if there is one; the versions that were stored."""
        return []

    def here(self, assets: Iterable[str]) -> list[str]:
        """The assets among these whose current version is expected on this disk: all, but of a store in a bucket."""
        return list(assets)

    def versions(self, asset: str) -> list[Version]:
        """The complete versions of an asset, oldest first."""
        found = self._path("versions", asset).glob(f"*/{MARKER}")
        listed = [self.get(asset, path.parent.name) for path in found]
        return sorted(listed, key=lambda version: (self.marker(version)["created"], version.data_version))

    def marker(self, version: Version) -> dict[str, Any]:
        """The completion marker: asset, data_version, meta, created (ISO 8601) and files (sizes and hashes)."""
        return verify.read_marker(version.path)

    def note(self, version: Version, values: Mapping[str, Any]) -> dict[str, Any]:
        """Store facts about a version's build (minutes, memory …) unless there are some; returns what is stored."""
        if not self.noted(version):
            self._write("notes", version.asset, version.data_version, dict(values))
        return self.noted(version)

    def noted(self, version: Version) -> dict[str, Any]:
        """The notes of a version; empty if there are none."""
        return dict(self._read("notes", version.asset, version.data_version) or {})

    def record_provenance(self, version: Version, provenance: Provenance) -> None:
        """Record how a version was made; an equal record that exists becomes the newest, with its runs and dates."""
        new = replace(provenance, published=self.marker(version)["created"], created=_now())
        with locks.locked(self.lock_folder(version.asset) / f"origin-{version.data_version}.lock", version.asset):
            before = self._records(version.asset, version.data_version)
            equal = [record for record in before if record.cause == new.cause] or [new]
            after = [*(record for record in before if record.cause != new.cause), *equal]
            if after != before:
                records = [dataclasses.asdict(record) for record in after]
                self._write("origins", version.asset, version.data_version, records)

    def provenance(self, asset: str, data_version: str) -> Provenance | None:
        """The newest provenance record of a version; None if there is none."""
        records = self._records(asset, data_version)
        return records[-1] if records else None

    def verify(self, version: Version) -> None:
        """Hash every file again; raises ``StoreCorrupt`` with the first that differs from the marker."""
        for name, (expected, got) in verify.differences(version.path).items():
            raise verify.damaged(version.path, name, expected, got)

    def lock(self, asset: str, holder: Mapping[str, Any], *, warn: locks.Warn, every: float = 60) -> None:
        """Take the asset's build lock (``locks.acquire``); it outlasts the build, for the pointer and the event."""
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

    def _publishing(self, asset: str, data_version: str) -> AbstractContextManager[None]:
        return locks.locked(self.lock_folder(asset) / f"publish-{data_version}.lock", asset)

    def _sound(self, asset: str, data_version: str) -> bool:
        """Whether a version is complete and as it was written; a damaged one loses its marker, so that it is none."""
        folder = self.folder(asset, data_version)
        if not (folder / MARKER).is_file():
            return False
        try:
            self.verify(self.get(asset, data_version))
        except StoreCorrupt as error:
            _log.warning("%s; it is set aside and built again", str(error).removesuffix(REMEDY))
            os.replace(folder / MARKER, folder / SET_ASIDE)
            sync(folder)
            return False
        return True

    def _records(self, asset: str, data_version: str) -> list[Provenance]:
        return self._read("origins", asset, data_version) or []

    def _read(self, kind: str, asset: str, name: str = "") -> Any:
        return read_record(self._json(kind, asset, name), kind)

    def _write(self, kind: str, asset: str, name: str, content: dict[str, Any] | list[Any]) -> None:
        write_record(self._json(kind, asset, name), content)

    def _json(self, kind: str, asset: str, name: str) -> Path:
        folder = self._path(kind, asset)
        return folder / f"{_checked(name, _NAME)}.json" if name else folder.with_suffix(".json")

    def _path(self, kind: str, asset: str) -> Path:
        return self.root / kind / _checked(asset, _ASSET)


def fingerprint(*parts: Any) -> str:
    """First 16 hex digits of the SHA-256 of the parts as canonical JSON; dataclasses count as their fields."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"a fingerprint takes JSON values and dataclasses, got {type(value).__name__}: {value!r}")


def _checked(text: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"expected a name like {pattern.pattern!r}, got {text!r}")
    return text
