"""Raw files in a bucket of a real S3 server: only what changed is fetched, and a lane made from them is the same."""

import shutil
from pathlib import Path

import pytest

from benchmarks.object_server import Wire, variables
from pipeline.data.raw import RawFolder, fingerprint
from pipeline.errors import ConfigError, DatasetUnusable, TransferFailed
from pipeline.wiring import doctor_remote
from pipeline.wiring.resources import resources
from pipeline.wiring.settings import Settings
from tests.unit.problem_folders import picture

pytest.importorskip("moto", reason="no S3 server: pip install 'proxyano[dev]'")
pytest.importorskip("obstore", reason="no client of object stores: pip install 'proxyano[bucket]'")

import obstore
from obstore.store import from_url

from pipeline.data.bucket import mirror
from pipeline.store import remote

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(url: str, tmp_path: Path):
    """Forty small pictures in a bucket, and the same on disk, where they can be changed."""
    local = tmp_path / "local" / "brain_mri"
    store = from_url(f"{url}/brain_mri", client_options={"allow_http": True})
    for number in range(40):
        path = local / f"no (tumor) {number % 2}" / f"slice {number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
        obstore.put(store, path.relative_to(local).as_posix(), path)
    return store, local


def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the objects that come from now on."""
    names, fetch = list[str](), remote.Remote.fetch

    def noted(self: remote.Remote, name: str, path: Path) -> tuple[str, int]:
        names.append(name)
        return fetch(self, name, path)

    monkeypatch.setattr(remote.Remote, "fetch", noted)
    return names


def test_the_folder_follows_the_bucket_and_only_changes_are_fetched(url, bucket, tmp_path, monkeypatch):
    store, local = bucket
    folder, names = tmp_path / "copy" / "brain_mri", fetched(monkeypatch)
    follow = lambda: mirror(f"{url}/brain_mri", folder, fresh=0, progress=False)  # noqa: E731
    follow()
    assert fingerprint(RawFolder(folder)) == fingerprint(RawFolder(local))
    assert len(names) == sum(path.is_file() for path in local.rglob("*"))

    names.clear()
    follow()
    assert names == []
    first, second, third = sorted(path for path in local.rglob("*.jpg"))[:3]
    shutil.copy(second, first)
    third.unlink()
    (local / "new").mkdir()
    shutil.copy(second, local / "new" / "added.jpg")
    changed = [path.relative_to(local).as_posix() for path in (first, local / "new" / "added.jpg")]
    for name in changed:
        obstore.put(store, name, local / name)
    obstore.delete(store, third.relative_to(local).as_posix())
    (folder / second.relative_to(local)).unlink()  # lost here
    (folder / "kept.jpg").write_bytes(b"of the user")
    follow()
    assert sorted(names) == sorted([*changed, second.relative_to(local).as_posix()])
    assert (folder / "kept.jpg").read_bytes() == b"of the user"
    (folder / "kept.jpg").unlink()
    assert fingerprint(RawFolder(folder)) == fingerprint(RawFolder(local))


def test_a_fetch_that_breaks_off_resumes(url, bucket, object_server, tmp_path, monkeypatch):
    folder, names = tmp_path / "copy" / "brain_mri", fetched(monkeypatch)
    wire = Wire(object_server)
    for name, value in variables(wire.port).items():
        monkeypatch.setenv(name, value)
    fetch = remote.Remote.fetch

    def cut(self: remote.Remote, name: str, path: Path) -> tuple[str, int]:
        if len(names) == 20:
            wire.cut()
        return fetch(self, name, path)

    with monkeypatch.context() as patch:
        patch.setattr(remote.Remote, "fetch", cut)
        with pytest.raises(TransferFailed, match="has not answered"):
            mirror(f"{url}/brain_mri", folder, fresh=0, patience=1, progress=False)
    there = len(RawFolder(folder).files)
    assert there > 0
    wire.join()
    names.clear()
    mirror(f"{url}/brain_mri", folder, fresh=0, progress=False)
    wire.cut()
    assert fingerprint(RawFolder(folder)) == fingerprint(RawFolder(bucket[1]))
    assert len(names) <= len(RawFolder(folder).files) - there + 8, "what had come was fetched again"


def test_a_lane_reads_them_like_a_folder(url, bucket, tmp_path, monkeypatch):
    for name in ("PROXYANO_PRESET", "PROXYANO_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROXYANO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PROXYANO_RAW", url)
    raw = resources(Settings())["raw"]
    assert raw.fingerprint("brain_mri") == fingerprint(RawFolder(bucket[1]))
    assert raw.folder("brain_mri").root == tmp_path / "home" / "raw-from-bucket" / "brain_mri"
    with pytest.raises(DatasetUnusable, match=r"expected downloaded files below s3://.*/oct, got no object there"):
        raw.folder("oct")
    assert doctor_remote.raw_bucket(f"{url}/brain_mri", "brain_mri").state == "ok"
    assert doctor_remote.raw_bucket(f"{url}/oct", "oct").state == "problem"
    monkeypatch.setenv("PROXYANO_RAW", "s3://no-such-bucket/raw")
    with pytest.raises(ConfigError, match="PROXYANO_RAW: s3://no-such-bucket/raw/oct cannot be used: The specified"):
        resources(Settings())["raw"].folder("oct")
