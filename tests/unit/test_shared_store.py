"""A store shared through a real S3 server: two homes, an outage, damage, two builders, room on the disk."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks.object_server import Wire
from pipeline.errors import ConfigError, NeverMaterialized, StoreCorrupt, TransferFailed
from pipeline.store import cache
from pipeline.store.provenance import Provenance
from pipeline.store.versions import Store, Version
from pipeline.wiring import doctor_remote

pytest.importorskip("moto", reason="no S3 server: pip install 'proxyano[dev]'")
pytest.importorskip("obstore", reason="no client of object stores: pip install 'proxyano[bucket]'")

from pipeline.store.remote import Remote
from pipeline.store.shared import SharedStore

pytestmark = pytest.mark.slow
ASSET, KEY, DATA = "oct/tiles", "a" * 16, "c" * 32
PROJECT = Path(__file__).parents[2]


def made(store: Store, text: str = "first", version: str = DATA, key: str = KEY) -> Version:
    """A version of two files, current."""
    with store.building(ASSET, key) as work:
        if (done := store.built(ASSET, key)) is not None:
            return done
        (work / "inner").mkdir()
        (work / "inner" / "a.txt").write_text(text)
        (work / "b.txt").write_text("b")
        published = store.publish(ASSET, work, version, {"text": text})
    store.point(published)
    return published


def provenance(**changed: object) -> Provenance:
    fields = {"inputs": {}, "code_version": "1", "git_commit": "g", "dagster_run": "d", "mlflow_run": "m"}
    return Provenance(**{**fields, "preset": "sample", "seed": 0, **changed})


def test_a_second_home_has_what_the_first_made(url, tmp_path):
    one, two = SharedStore(tmp_path / "1", url), SharedStore(tmp_path / "2", url)
    with pytest.raises(NeverMaterialized):
        two.current(ASSET)
    version = made(one)
    one.note(version, {"minutes": 1.5})
    one.record_provenance(version, provenance())
    assert two.assets() == [ASSET]
    assert [each.data_version for each in two.versions(ASSET)] == [DATA]
    assert two.here([ASSET]) == []
    assert not (tmp_path / "2" / "versions").exists(), "listing fetched files"
    found = two.current(ASSET)
    assert found.path == tmp_path / "2" / "versions" / ASSET / DATA
    assert (found.path / "inner" / "a.txt").read_text() == "first"
    assert found.meta == {"text": "first"}
    two.verify(found)
    assert two.marker(found) == one.marker(version)
    assert two.note(found, {"minutes": 9}) == {"minutes": 1.5}
    assert two.provenance(ASSET, DATA) == one.provenance(ASSET, DATA) != None  # noqa: E711
    assert two.built(ASSET, KEY) == found
    two.record_provenance(found, provenance(code_version="2"))
    assert one.provenance(ASSET, DATA).code_version == "2"
    assert [each.code_version for each in one._records(ASSET, DATA)] == ["1", "2"]
    assert Store(tmp_path / "2").current(ASSET) == found, "the folder alone is no store any more"


def test_nothing_goes_up_twice_and_equal_files_once(url, tmp_path):
    store = SharedStore(tmp_path, url)
    made(store)
    files = set(store.remote.names("files"))
    assert len(files) == 2
    made(store, "second", "d" * 32, "b" * 16)
    assert len(set(store.remote.names("files")) - files) == 1, "b.txt is the same in both"


def test_a_home_that_was_made_alone_is_stored_by_share(url, tmp_path):
    alone = Store(tmp_path / "1")
    version = made(alone)
    alone.record_provenance(version, provenance())
    store = SharedStore(tmp_path / "1", url)
    assert store.pointed(ASSET) == DATA
    assert [each.data_version for each in store.share()] == [DATA]
    assert store.share() == []
    other = SharedStore(tmp_path / "2", url)
    assert other.current(ASSET).meta == {"text": "first"}
    assert other.provenance(ASSET, DATA) is not None


def test_damage_on_the_disk_is_fetched_again_and_damage_in_the_bucket_is_told_and_mended(url, tmp_path, caplog):
    one, two = SharedStore(tmp_path / "1", url), SharedStore(tmp_path / "2", url)
    version = made(one)
    file = version.path / "inner" / "a.txt"
    file.write_text("wrong")
    assert (one.current(ASSET).path / "inner" / "a.txt").read_text() == "first"
    wanted = one.marker(version)["files"]["inner/a.txt"]
    name = f"files/{wanted['sha256'][:2]}/{wanted['sha256']}"
    one.remote.write(name, b"other")
    with pytest.raises(StoreCorrupt, match=rf"{name} is damaged: expected 5 bytes of sha256 .*, got 5 bytes of sha256"):
        two.current(ASSET)
    assert "is fetched again" in caplog.text
    with pytest.raises(StoreCorrupt, match=r"expected .*COMPLETE.json, got no such file; run: proxyano refresh"):
        two.current(ASSET)
    assert two.built(ASSET, KEY) is None
    assert [each.data_version for each in one.share()] == [DATA]  # what a refresh does, where the files are
    assert two.built(ASSET, KEY).data_version == DATA
    assert two.remote.read(f"damaged/{name}")[0] == b"other"
    one.remote.remove([name, f"versions/{ASSET}/{DATA}/COMPLETE.json"])
    shutil.rmtree(tmp_path / "2")
    cache.keep([])
    made(two)  # what a refresh does, where they are not
    shutil.rmtree(tmp_path / "1")
    cache.keep([])
    assert (SharedStore(tmp_path / "1", url).current(ASSET).path / "inner" / "a.txt").read_text() == "first"


def test_a_damaged_record_counts_as_missing(url, tmp_path):
    store = SharedStore(tmp_path / "1", url)
    made(store)
    store.remote.write(f"current/{ASSET}.json", b"{")
    other = SharedStore(tmp_path / "2", url)
    assert other.pointed(ASSET) is None
    other.point(other.get(ASSET, DATA))
    assert store.pointed(ASSET) == DATA


def test_an_outage_is_waited_for_and_a_longer_one_is_told_and_resumed(url, object_server, tmp_path, monkeypatch):
    wire = Wire(object_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{wire.port}")
    store = SharedStore(tmp_path / "1", Remote(url, patience=30))
    wire.cut()
    timer = threading.Timer(1, wire.join)
    timer.start()
    started = time.monotonic()
    made(store)
    assert time.monotonic() - started > 1
    store.remote.patience = 0.5
    work = store.work(ASSET, "b" * 16)
    (work / "c.txt").write_text("c")
    wire.cut()
    with pytest.raises(TransferFailed, match=r"has not answered for 0 s.*run the same command again"):
        store.publish(ASSET, work, "d" * 32, {})
    wire.join()
    assert store.built(ASSET, "b" * 16).data_version == "d" * 32, "built again after an outage"
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{object_server}")
    assert (SharedStore(tmp_path / "2", url).built(ASSET, "b" * 16).path / "c.txt").read_text() == "c"
    wire.cut()


def test_the_longest_unused_versions_leave_the_disk_but_none_in_use(url, tmp_path):
    store = SharedStore(tmp_path / "1", url, most=25)
    for number, letter in enumerate("def"):
        made(store, "0123456789", letter * 32, str(number) * 16)  # 11 bytes each
        cache.keep([])
    local = Store(tmp_path / "1")
    assert [each.data_version[0] for each in local.versions(ASSET)] == ["e", "f"]
    used = store.get(ASSET, "e" * 32)
    cache.keep([used.path])
    assert store.get(ASSET, "d" * 32).meta == {"text": "0123456789"}
    assert sorted(each.data_version[0] for each in local.versions(ASSET)) == ["d", "e"]
    alone = local.publish(ASSET, made_alone(local), "9" * 32, {})  # not in the bucket
    store._make_room()
    assert alone.path.is_dir()


def made_alone(store: Store) -> Path:
    work = store.work(ASSET, "9" * 16)
    (work / "b.txt").write_text("x" * 20)
    return work


def test_doctor_tells_whether_the_bucket_can_be_written(url, object_server, monkeypatch):
    assert doctor_remote.bucket(url).state == "ok"
    assert Remote(url).names("doctor") == []
    missing = doctor_remote.bucket("s3://no-such-bucket/x")
    assert missing.state == "problem"
    assert "s3://no-such-bucket/x cannot be written" in missing.found
    with pytest.raises(ConfigError, match="expected a URL like s3://bucket/prefix, got 'nonsense'"):
        Remote("nonsense")
    monkeypatch.setattr(doctor_remote, "_TIMEOUT", 0.1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "has not answered" in doctor_remote.bucket(url).found


def test_without_the_setting_nothing_more_is_imported(tmp_path):
    code = "import sys; from pipeline.wiring.settings import Settings; Settings().store.assets()"
    code += "; print({'obstore', 'pipeline.store.shared', 'distributed'} & set(sys.modules))"
    kept = {name: value for name, value in os.environ.items() if name != "PROXYANO_STORE"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"PROXYANO_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"
