"""What may go from a store: versions nobody needs, what killed runs left, and what belonged to what is gone.

Kept are, for each asset, the current version and the newest up to ``keep``; all that current and registered versions
were made from; and what a running build reads. An asset that any process is building is left alone.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.store import locks
from pipeline.store.file_hashes import sync_folder
from pipeline.store.lineage import Made, closure
from pipeline.store.versions import HEX, MARKER, Store, Version

GOING = ".going-"
"""A work folder's name begins with it once its removal has begun, so that no build takes it up half removed."""
LOCK_FILES = "lock files"
KINDS = ("versions", "work", "built", "current", "notes", "origins", "locks")
"""Top folders of a store; nothing else in it is looked at."""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Files and folders of an asset that may go, for one reason."""

    asset: str
    what: str
    why: str
    paths: tuple[Path, ...]
    size: int  # bytes


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """An asset that is left alone, and who holds it."""

    asset: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What may go, in the order in which it goes, and what was not looked at."""

    removals: tuple[Removal, ...]
    skipped: tuple[Skipped, ...]

    @property
    def size(self) -> int:
        """Bytes that this frees."""
        return sum(removal.size for removal in self.removals)


def clean(
    store: Store,
    *,
    keep: int,
    registered: Collection[Made] = (),
    delete: bool = False,
    tell: Callable[[Removal], object] = lambda removal: None,
) -> Plan:
    """Look what may go and, with ``delete``, remove it, the folders that this empties too; ``tell`` hears of each.

    Raises ``ValueError`` unless ``keep`` is at least 1. After a kill the next call finishes what was begun.
    """
    if keep < 1:
        raise ValueError(f"keep: expected at least 1, the current version, got {keep}")
    every = assets(store)
    needed = _needed(store, every, registered)
    removals: list[Removal] = []
    skipped = []
    for asset in every:
        folder = store.lock_folder(asset)
        lock_files = list(_removal(asset, LOCK_FILES, "nobody holds them", _files(folder)))  # before ours is there
        with locks.all_free(folder, taking=delete) as free:
            if not free:
                skipped.append(Skipped(asset=asset, why=f"in use by {locks.told(locks.holder_of(folder))}"))
                continue
            found = [*_removals(store, asset, keep, needed), *lock_files]
            for removal in found:
                tell(removal)
                if delete:
                    _remove(removal.paths)
            if delete:
                (folder / locks.RUN).unlink(missing_ok=True)  # the last act: from here on others may build
                _drop_empty(store, asset)
            removals += found
    return Plan(removals=tuple(removals), skipped=tuple(skipped))


def assets(store: Store) -> list[str]:
    """Every asset that has left any trace in the store."""
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


def _needed(store: Store, every: Collection[str], registered: Collection[Made]) -> set[Made]:
    """Versions that stay whatever their age."""
    tops = {(asset, pointed) for asset in every if (pointed := store.pointed(asset)) is not None}
    tops |= {made for made in registered if made[0] in every and HEX.fullmatch(made[1])}
    for asset in every:
        with locks.all_free(store.lock_folder(asset), taking=False) as free:
            if not free:
                tops |= set(locks.holder_of(store.lock_folder(asset)).get("inputs", {}).items())
    return closure(store, tops)


def _removals(store: Store, asset: str, keep: int, needed: set[Made]) -> Iterator[Removal]:
    old = _old(store, asset, keep, needed)
    for version in old:
        why = f"older than the newest {keep}, and nothing kept was made from it"
        yield from _removal(asset, f"version {version.data_version}", why, [version.path])
    for path in _folders(store.root / "versions" / asset):
        if not (path / MARKER).is_file() and path.name != store.pointed(asset):
            yield from _removal(asset, f"version {path.name}", "unfinished: it has no marker", [path])
    for path in _folders(store.root / "work" / asset):
        yield from _removal(asset, f"work {path.name}", "an unfinished build that nobody runs", [path])
    stay = {path.name for path in _folders(store.root / "versions" / asset) if (path / MARKER).is_file()}
    stay -= {version.data_version for version in old}
    stay |= {pointed for pointed in [store.pointed(asset)] if pointed is not None}
    for kind in ("built", "notes", "origins"):
        files = [path for path in _files(store.root / kind / asset) if path.suffix == ".json"]
        gone = [path for path in files if (_names(path) if kind == "built" else path.stem) not in stay]
        yield from _removal(asset, kind, "their version is gone", gone)
    yield from _removal(asset, "temporary files", "left by a killed write", _temporary(store, asset))


def _old(store: Store, asset: str, keep: int, needed: set[Made]) -> list[Version]:
    """Versions beyond the newest ``keep``, of which the current one is always one, unless something needs them."""
    versions, pointed = store.versions(asset), store.pointed(asset)
    versions.sort(key=lambda version: version.data_version == pointed)  # stable: the current one last, as the newest
    return [version for version in reversed(versions[:-keep]) if (asset, version.data_version) not in needed]


def _removal(asset: str, what: str, why: str, paths: list[Path]) -> Iterator[Removal]:
    if paths:
        yield Removal(asset=asset, what=what, why=why, paths=tuple(paths), size=sum(map(_size, paths)))


def _remove(paths: tuple[Path, ...]) -> None:
    """Remove files and folders; a version loses its marker and a work folder its name before anything else goes."""
    for path in paths:
        if not path.is_dir():
            path.unlink(missing_ok=True)
        elif (path / MARKER).is_file():
            (path / MARKER).unlink()
            sync_folder(path)
            shutil.rmtree(path)
        else:
            shutil.rmtree(path if path.name.startswith(GOING) else path.rename(path.with_name(f"{GOING}{path.name}")))


def _drop_empty(store: Store, asset: str) -> None:
    """Remove an asset's empty folders and those above them."""
    for kind in KINDS:
        top = store.root / kind
        folder = top / (str(Path(asset).parent) if kind == "current" else asset)
        for path in [folder, *folder.parents]:
            if path.is_relative_to(top):
                with contextlib.suppress(OSError):  # it holds something, or is not there
                    path.rmdir()


def _names(built: Path) -> str:
    """The version that a build's record names."""
    return str(json.loads(built.read_text())["data_version"])


def _temporary(store: Store, asset: str) -> list[Path]:
    folders = [store.root / kind / asset for kind in ("built", "notes", "origins")]
    found = [path for folder in folders for path in _files(folder) if path.name.endswith(".tmp")]
    pointer = store.root / "current" / asset
    return found + sorted(pointer.parent.glob(f".{pointer.name}.json.*.tmp"))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _folders(folder: Path) -> list[Path]:
    """Folders of versions or of builds; not those of assets whose names go deeper."""
    if not folder.is_dir():
        return []
    named = [path for path in folder.iterdir() if HEX.fullmatch(path.name) or path.name.startswith(GOING)]
    return sorted(path for path in named if path.is_dir())


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
