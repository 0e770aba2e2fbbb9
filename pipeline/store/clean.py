"""Find and remove what a store no longer needs: old versions, leftovers of killed runs, and records of both.

Each asset keeps its current version and its newest ones, ``keep`` in all. Also kept is everything that current and
registered versions were made from, and what a running build reads. An asset that a process is building is skipped.
"""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.store import locks
from pipeline.store.files import sync
from pipeline.store.lineage import VersionId, closure
from pipeline.store.provenance import read_record
from pipeline.store.verify import MARKER
from pipeline.store.versions import HEX, Store

GOING = ".going-"  # prefix of a work folder whose removal has begun, so that no build uses what is left of it
LOCK_FILES = "lock files"
KINDS = ("versions", "work", "built", "current", "notes", "origins", "locks")  # nothing else in a store is touched
RECORDS = ("built", "notes", "origins")  # with one JSON file per version or build


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Files and folders of an asset that can be removed for one reason."""

    asset: str
    what: str
    why: str
    paths: tuple[Path, ...]
    size: int  # bytes


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What can be removed, in order, and what was skipped."""

    removals: tuple[Removal, ...]
    skipped: Mapping[str, str]  # asset → which process builds it

    @property
    def size(self) -> int:
        """Bytes that the removals free."""
        return sum(removal.size for removal in self.removals)


def clean(store: Store, *, keep: int, registered: Collection[VersionId] = (), delete: bool = False) -> Plan:
    """Find what can be removed and, with ``delete``, remove it; ``ValueError`` unless ``keep`` is at least 1."""
    if keep < 1:
        raise ValueError(f"keep: expected at least 1, the current version, got {keep}")
    every = _assets(store)
    needed = _needed(store, every, registered)
    removals: list[Removal] = []
    skipped: dict[str, str] = {}
    for asset in every:
        folder = store.lock_folder(asset)
        lock_files = list(_removal(asset, LOCK_FILES, "nobody holds them", _files(folder)))  # before we make our own
        with locks.all_locked(folder, create=delete) as free:
            if not free:
                skipped[asset] = f"in use by {locks.describe_holder(locks.read_holder(folder))}"
                continue
            found = [*_removals(store, asset, keep, needed), *lock_files]
            removals += found
            if delete:
                for path in (path for removal in found for path in removal.paths):
                    _remove(path)
                (folder / locks.RUN).unlink(missing_ok=True)  # last of all: from here on others may build
                _remove_empty(store, asset)
    return Plan(removals=tuple(removals), skipped=skipped)


def _assets(store: Store) -> list[str]:
    """Every asset that has files in the store."""
    found = set()
    for kind in KINDS:
        top = store.root / kind
        for folder, folders, files in os.walk(top):
            here = Path(folder).relative_to(top).as_posix()
            inner = [name for name in folders if HEX.fullmatch(name) or name.startswith(GOING)]
            folders[:] = [name for name in folders if name not in inner]
            if inner or (files and kind != "current"):
                found.add(here)
            if kind == "current":
                found |= {(Path(here) / name.removeprefix(".").partition(".")[0]).as_posix() for name in files}
    return sorted(found - {"."})


def _needed(store: Store, every: Collection[str], registered: Collection[VersionId]) -> set[VersionId]:
    """Versions that stay however old they are."""
    tops = {(asset, current) for asset in every if (current := store.pointed(asset)) is not None}
    tops |= {version for version in registered if version[0] in every and HEX.fullmatch(version[1])}
    for asset in every:
        with locks.all_locked(store.lock_folder(asset), create=False) as free:
            if not free:
                tops |= set(locks.read_holder(store.lock_folder(asset)).get("inputs", {}).items())
    return closure(store, tops)


def _removals(store: Store, asset: str, keep: int, needed: set[VersionId]) -> Iterator[Removal]:
    current, versions = store.pointed(asset), store.versions(asset)
    versions.sort(key=lambda version: version.data_version == current)  # stable: the current one counts as the newest
    old = [version for version in reversed(versions[:-keep]) if (asset, version.data_version) not in needed]
    for version in old:
        why = f"older than the newest {keep}, and nothing kept was made from it"
        yield from _removal(asset, f"version {version.data_version}", why, [version.path])
    complete = {version.data_version for version in versions}
    for path in _folders(store.root / "versions" / asset):
        if path.name not in complete | {current}:
            yield from _removal(asset, f"version {path.name}", "unfinished: it has no marker", [path])
    for path in _folders(store.root / "work" / asset):
        yield from _removal(asset, f"work {path.name}", "an unfinished build that nobody runs", [path])
    kept = (complete - {version.data_version for version in old}) | {current}
    for kind in RECORDS:
        files = [path for path in _files(store.root / kind / asset) if path.suffix == ".json"]
        made = {path: read_record(path, kind).data_version if kind == "built" else path.stem for path in files}
        gone = [path for path, version in made.items() if version not in kept]
        yield from _removal(asset, kind, "their version is gone", gone)
    temporary = [path for kind in RECORDS for path in _files(store.root / kind / asset) if path.name.endswith(".tmp")]
    pointer = store.root / "current" / asset
    temporary += sorted(pointer.parent.glob(f".{pointer.name}.json.*.tmp"))
    yield from _removal(asset, "temporary files", "left by a killed write", temporary)


def _removal(asset: str, what: str, why: str, paths: list[Path]) -> Iterator[Removal]:
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    if paths:
        size = sum(file.stat().st_size for file in files)
        yield Removal(asset=asset, what=what, why=why, paths=tuple(paths), size=size)


def _remove(path: Path) -> None:
    """Remove a file or folder; first of all a version loses its marker and a work folder its name."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
    elif (path / MARKER).is_file():
        (path / MARKER).unlink()
        sync(path)
        shutil.rmtree(path)
    else:
        shutil.rmtree(path if path.name.startswith(GOING) else path.rename(path.with_name(f"{GOING}{path.name}")))


def _remove_empty(store: Store, asset: str) -> None:
    """Remove an asset's empty folders and those above them."""
    for kind in KINDS:
        top = store.root / kind
        folder = top / (str(Path(asset).parent) if kind == "current" else asset)
        for path in [folder, *folder.parents]:
            if path.is_relative_to(top):
                with contextlib.suppress(OSError):  # it is not empty, or does not exist
                    path.rmdir()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _folders(folder: Path) -> list[Path]:
    """Folders of versions or builds; not those of assets with longer names."""
    every = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted(path for path in every if HEX.fullmatch(path.name) or path.name.startswith(GOING))
