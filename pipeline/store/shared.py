"""A store whose versions and records lie in a bucket too, so that several machines share them.

The folder on disk is a cache: a version comes down when it is first read, and each of its files is hashed on arrival. A
published version goes up before the pointer moves. Locks on disk keep the processes of this machine apart, leases in
the bucket the machines. What lies in the bucket is never removed from here.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.errors import StoreCorrupt
from pipeline.store import cache, verify
from pipeline.store.files import FileHash, file_names, sync, write_file
from pipeline.store.leases import LEASE, Lease, LeaseLost, home_name, take
from pipeline.store.locks import Warn, locked
from pipeline.store.provenance import RECORDS, Provenance, read_record
from pipeline.store.remote import ANY, Moved, Remote, connect, object_of
from pipeline.store.verify import MARKER
from pipeline.store.versions import Store, Version

AT_ONCE = 8  # files that are stored or fetched side by side
_log = logging.getLogger(__name__)


class _Held(threading.local):
    """The asset's lease of this thread by the folder of the store, and the pointer's ETag when it was taken."""

    def __init__(self) -> None:
        self.leases: dict[Path, tuple[str, Lease, str | None]] = {}


_held = _Held()


class SharedStore(Store):
    """The store below a folder and at the URL ``remote``; its versions on disk take at most ``most`` bytes."""

    shared = True

    def __init__(self, root: Path, remote: str | Remote, *, most: float | None = None, lease: float = LEASE) -> None:
        super().__init__(root)
        self.remote = connect(remote) if isinstance(remote, str) else remote
        self.most, self.lease = most, lease
        self._tags = threading.local()  # object → its ETag when this thread last read it

    @contextmanager
    def building(self, asset: str, key: str) -> Iterator[Path]:
        """As in ``Store``; the build is also locked on other machines."""
        with super().building(asset, key) as work:
            lease = self._take(asset, f"build-{key}", {"asset": asset}, _log.warning, 60)
            try:
                yield work
            finally:
                lease.release()

    def built(self, asset: str, key: str) -> Version | None:
        """As in ``Store``; what could not be stored in the bucket when it was built is stored now."""
        version, record = super().built(asset, key), self._read("built", asset, key)
        if version is None and record is not None:
            with suppress(StoreCorrupt):  # it is built again
                version = self.get(asset, record.data_version)
        elif version is not None and self._remote_marker(version.path) is None:
            self.push(version)
            self._upload_record(self._json("built", asset, key))
        return version

    def publish(
        self,
        asset: str,
        work: Path,
        data_version: str,
        meta: Mapping[str, Any],
        known: Mapping[str, FileHash] | None = None,
    ) -> Version:
        """As in ``Store``; the version is stored in the bucket, too."""
        builds = self._path("work", asset)
        version = super().publish(asset, work, data_version, meta, known)
        self.push(version)
        if work.is_relative_to(builds):
            key = work.relative_to(builds).parts[0]
            self._upload_record(self._json("built", asset, key))
            self.remote.remove(self.remote.names(f"work/{asset}/{key}"))
        self._make_room()
        return version

    def point(self, version: Version) -> None:
        """As in ``Store``; ``LeaseLost`` if another machine has taken the asset over meanwhile."""
        self.get(version.asset, version.data_version)
        asset, lease, tag = _held.leases.get(self.root.resolve(), ("", None, None))
        path, lost = self._json("current", version.asset, ""), f"{version.asset}: another machine has made it meanwhile"
        content = json.dumps({"data_version": version.data_version}, indent=1).encode()
        if asset != version.asset or lease is None:
            lease, tag = None, self._tag(path)
        try:
            if lease is not None and lease.lost:
                raise Moved(lease.name)
            tag = self.remote.write(self._object(path), content, after=tag)
        except Moved as error:
            raise LeaseLost(f"{lost}, and its pointer stays; run: proxyano refresh") from error
        write_file(path, content)
        if lease is not None:
            _held.leases[self.root.resolve()] = asset, lease, tag

    def get(self, asset: str, data_version: str) -> Version:
        """As in ``Store``; fetches the version if it is not on disk, and keeps it there while this thread uses it."""
        folder, fetched = self.folder(asset, data_version), False
        while not cache.use(folder):
            with self._publishing(asset, data_version):
                if not (folder / MARKER).is_file() and not self._pull(folder):
                    break
            fetched = True
        if fetched:
            self._make_room()
        return super().get(asset, data_version)

    def opened(self, asset: str, data_version: str) -> Version:
        """As in ``Store``; damaged files are fetched again."""
        try:
            return super().opened(asset, data_version)
        except StoreCorrupt:
            if not (self.folder(asset, data_version) / MARKER).is_file():
                raise  # it could not be fetched
            with self._publishing(asset, data_version):
                self._sound(asset, data_version)  # sets a damaged one aside
        return super().opened(asset, data_version)

    def assets(self) -> list[str]:
        """Every asset that has a complete version, on disk or in the bucket."""
        return sorted({*super().assets(), *(asset for asset, _ in self._stored())})

    def versions(self, asset: str) -> list[Version]:
        """The complete versions of an asset, oldest first; files of those in the bucket come when ``get`` is called."""
        local = {version.data_version: version for version in super().versions(asset)}
        for each in (data_version for other, data_version in self._stored(f"/{asset}") if other == asset):
            if each not in local:
                local[each] = self.known(asset, each)
        return sorted(local.values(), key=lambda each: (self.marker(each)["created"], each.data_version))

    def known(self, asset: str, data_version: str) -> Version:
        """As in ``Store``; does not fetch its files."""
        folder = self.folder(asset, data_version)
        if not (folder / MARKER).is_file() and (found := self._remote_marker(folder)) is not None:
            return Version(asset, folder, data_version, verify.parse_marker(found, folder)["meta"])
        return super().known(asset, data_version)

    def marker(self, version: Version) -> dict[str, Any]:
        """As in ``Store``."""
        found = None if (version.path / MARKER).is_file() else self._remote_marker(version.path)
        return super().marker(version) if found is None else verify.parse_marker(found, version.path)

    def here(self, assets: Iterable[str]) -> list[str]:
        """As in ``Store``; not those whose current version lies only in the bucket."""
        found = []
        for asset in assets:
            current = self.pointed(asset)
            folder = None if current is None else self.folder(asset, current)
            if folder is None or (folder / MARKER).is_file() or self._remote_marker(folder) is None:
                found.append(asset)
        return found

    def record_provenance(self, version: Version, provenance: Provenance) -> None:
        """As in ``Store``; begins again when another machine has written in between."""
        while True:
            try:
                return super().record_provenance(version, provenance)
            except Moved:
                continue

    def lock(self, asset: str, holder: Mapping[str, Any], *, warn: Warn, every: float = 60) -> None:
        """As in ``Store``; on all machines. What is no input of ``holder`` may leave the disk from now on."""
        root = self.root.resolve()
        if root in _held.leases and (_held.leases[root][0] != asset or _held.leases[root][1].lost):
            self.release()
        super().lock(asset, holder, warn=warn, every=every)
        cache.keep([self.folder(*version) for version in holder.get("inputs", {}).items()])
        if root not in _held.leases:
            lease = self._take(asset, "run", {"asset": asset, **holder}, warn, every)
            _held.leases[root] = asset, lease, self._tag(self._json("current", asset, ""))

    def note(self, version: Version, values: Mapping[str, Any]) -> dict[str, Any]:
        """As in ``Store``; the first note of all machines stays."""
        with suppress(Moved):
            return super().note(version, values)
        return self.noted(version)

    def release(self) -> None:
        """As in ``Store``; on all machines."""
        _, lease, _ = _held.leases.pop(self.root.resolve(), ("", None, None))
        if lease is not None:
            lease.release()
        super().release()

    def push(self, version: Version) -> None:
        """Store a version in the bucket unless it is there whole: its files, then its marker."""
        marker, name = (version.path / MARKER).read_bytes(), self._object(version.path / MARKER)
        there = self.remote.read(name)
        if there is not None and there[0] != marker:
            other = verify.parse_marker(there[0], version.path)["files"].values()
            if all(self.remote.size(object_of(file)) == file["bytes"] for file in other):
                return  # an equal version whose files another machine has written in another way
        files = verify.read_marker(version.path)["files"]
        self._each(lambda file: self.remote.upload(version.path / file, files[file]), files)
        if there is None or there[0] != marker:
            self.remote.write(name, marker)

    def share(self) -> list[Version]:
        """Store all complete versions and records on disk that the bucket lacks, as after an outage; which versions."""
        there = {name for kind in ("versions", *RECORDS) for name in self.remote.names(kind)}
        missing = []
        for path in sorted((self.root / "versions").rglob(MARKER)):
            if self._object(path) not in there:
                asset = path.parent.parent.relative_to(self.root / "versions").as_posix()
                version = Version(asset, path.parent, path.parent.name, {})
                try:
                    self.push(version)
                    missing.append(version)
                except StoreCorrupt as error:  # it stays here
                    _log.warning("%s", error)
        for kind in sorted(RECORDS, key=lambda kind: kind == "current"):  # pointers last
            for path in sorted((self.root / kind).rglob("[!.]*.json")):
                if self._object(path) not in there:
                    with suppress(Moved):
                        self._upload_record(path, after=None)
        return missing

    def _pull(self, folder: Path) -> bool:
        """Fetch the files of a version that are not on disk as its marker says; False if the bucket has no such one."""
        if (content := self._remote_marker(folder)) is None:
            return False
        files = verify.parse_marker(content, folder)["files"]
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._each(lambda name: self.remote.download(files[name], folder / name), files)
        except StoreCorrupt:
            self.remote.set_aside(self._object(folder / MARKER))
            raise
        for name in set(file_names(folder)) - files.keys():
            (folder / name).unlink()
        for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            sync(inner)
        write_file(folder / MARKER, content)
        _log.info("fetched %s", self._object(folder))
        return True

    def _each(self, function: Callable[[str], None], names: Iterable[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(function, names))

    def _read(self, kind: str, asset: str, name: str = "") -> Any:
        """A record of the bucket, which is copied to disk; the one on disk if there is none, or a damaged one."""
        path = self._json(kind, asset, name)
        if kind != "built" or not path.is_file():  # which never changes
            found = self.remote.read(self._object(path))
            vars(self._tags)[self._object(path)] = found and found[1]
            if found is not None:
                try:
                    RECORDS[kind].validate_json(found[0])
                except ValidationError:
                    _log.warning("%s/%s is damaged and counts as missing", self.remote.url, self._object(path))
                else:
                    if not path.is_file() or path.read_bytes() != found[0]:
                        write_file(path, found[0], durable=False)
        return read_record(path, kind)

    def _write(self, kind: str, asset: str, name: str, content: dict[str, Any] | list[Any]) -> None:
        """Write a record, in the bucket only over what was read last; ``Moved`` if that has changed."""
        if kind != "built":  # which follows its version
            path = self._object(self._json(kind, asset, name))
            self.remote.write(path, json.dumps(content, indent=1).encode(), after=vars(self._tags).get(path))
        super()._write(kind, asset, name, content)

    def _upload_record(self, path: Path, *, after: str | None = ANY) -> None:
        self.remote.write(self._object(path), path.read_bytes(), after=after)

    def _take(self, asset: str, name: str, about: Mapping[str, Any], warn: Warn, every: float) -> Lease:
        home, place = home_name(self.root), f"locks/{asset}/{name}.json"
        return take(self.remote, place, about, home=home, warn=warn, every=every, seconds=self.lease)

    def _make_room(self) -> None:
        if self.most is not None:
            with locked(self.root.resolve() / "locks" / "room.lock", "room"):
                for folder in cache.make_room(self.root / "versions", self.most, self._remote_marker):
                    _log.info("removed %s from this machine, as room is short", self._object(folder))

    def _stored(self, below: str = "") -> list[tuple[str, str]]:
        """Asset and data version of every version in the bucket."""
        names = [name.split("/") for name in self.remote.names(f"versions{below}")]
        return [("/".join(parts[1:-2]), parts[-2]) for parts in names]

    def _remote_marker(self, folder: Path) -> bytes | None:
        found = self.remote.read(self._object(folder / MARKER))
        return found and found[0]

    def _tag(self, path: Path) -> str | None:
        found = self.remote.read(self._object(path))
        return found and found[1]

    def _object(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()
