import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.errors import NeverMaterialized, StoreCorrupt
from pipeline.store.files import write_file
from pipeline.store.verify import MARKER
from pipeline.store.versions import Store, Version, fingerprint

FIRST, SECOND = "a" * 16, "b" * 16


def publish(store: Store, data_version: str, text: str, key: str = "key") -> Version:
    with store.building("oct/tiles", key) as work:
        (work / "inner").mkdir()
        (work / "inner" / "a.txt").write_text(text)
        return store.publish("oct/tiles", work, data_version, {"text": text})


def test_a_version_is_published_pointed_at_and_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    version = publish(store, FIRST, "one")
    assert (version.path / "inner" / "a.txt").read_text() == "one"
    assert version == store.get("oct/tiles", FIRST) == store.built("oct/tiles", "key")
    store.point(version)
    assert store.current("oct/tiles") == version
    assert version.meta == {"text": "one"}
    store.verify(version)
    assert not (tmp_path / "work" / "oct" / "tiles" / "key").exists()


def test_nothing_made_yet_says_so_in_one_sentence(tmp_path: Path) -> None:
    line = "oct/tiles has never been materialized; run: proxyano refresh --select '*oct/tiles'"
    with pytest.raises(NeverMaterialized, match="^" + re.escape(line) + "$"):
        Store(tmp_path).current("oct/tiles")


def test_an_equal_version_is_kept_and_the_work_dropped(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = publish(store, FIRST, "one")
    with store.building("oct/tiles", "other") as work:
        (work / "b.txt").write_text("other bytes, equal logical content")
        assert store.publish("oct/tiles", work, FIRST, {}) == first
    assert not work.exists()
    assert store.built("oct/tiles", "other") == first
    assert not (first.path / "b.txt").exists()


def test_a_folder_inside_the_work_folder_can_be_the_version(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.building("oct/tiles", "key") as work:
        (work / "content").mkdir()
        (work / "content" / "a.txt").write_text("a")
        (work / "scratch.txt").write_text("scratch")
        version = store.publish("oct/tiles", work / "content", FIRST, {})
    assert sorted(path.name for path in version.path.iterdir()) == [MARKER, "a.txt"]
    assert not work.exists()
    assert store.built("oct/tiles", "key") == version


def test_a_failed_build_leaves_the_previous_version_and_its_own_work(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.point(publish(store, FIRST, "one"))

    def fail() -> None:
        with store.building("oct/tiles", "next") as work:
            (work / "half.txt").write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert store.current("oct/tiles").data_version == FIRST
    assert (store.work("oct/tiles", "next") / "half.txt").read_text() == "half"
    store.point(publish(store, SECOND, "two"))
    assert store.current("oct/tiles").data_version == SECOND
    assert store.get("oct/tiles", FIRST).meta == {"text": "one"}


def test_a_kill_between_rename_and_marker_is_mended_by_the_next_run(tmp_path: Path) -> None:
    """A real SIGKILL, sent by the child to itself when it is about to write the marker."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.run([sys.executable, __file__, str(tmp_path)], env=environment, check=False)
    assert child.returncode == -signal.SIGKILL
    store = Store(tmp_path)
    assert store.current("oct/tiles").data_version == FIRST
    assert (tmp_path / "versions" / "oct" / "tiles" / SECOND / "inner" / "a.txt").is_file()
    assert store.built("oct/tiles", "next") is None
    with pytest.raises(StoreCorrupt, match=MARKER):
        store.get("oct/tiles", SECOND)
    store.verify(publish(store, SECOND, "two", "next"))


def test_what_a_killed_write_left_is_not_published(tmp_path: Path) -> None:
    store = Store(tmp_path)
    work = store.work("oct/tiles", "key")
    (work / ".a.txt.x1y2.tmp").write_text("half")
    (work / "0.0123abcd.partial").write_text("half")
    (work / "a.txt").write_text("whole")
    version = store.publish("oct/tiles", work, FIRST, {})
    assert sorted(path.name for path in version.path.iterdir()) == [MARKER, "a.txt"]


@pytest.mark.parametrize("damage", ["change", "remove", "add"])
def test_verify_names_what_differs(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    version = publish(store, FIRST, "one")
    file = version.path / "inner" / "a.txt"
    if damage == "change":
        file.write_text("two")
    elif damage == "remove":
        file.unlink()
    else:
        file.with_name("b.txt").write_text("more")
    with pytest.raises(StoreCorrupt, match=r"inner/b\.txt" if damage == "add" else r"inner/a\.txt"):
        store.verify(version)


def test_a_removed_version_is_not_taken_for_built(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (publish(store, FIRST, "one").path / MARKER).unlink()
    assert store.built("oct/tiles", "key") is None


def test_an_empty_build_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ValueError, match="nothing to publish"):
        store.publish("oct/tiles", store.work("oct/tiles", "key"), FIRST, {})


def test_names_that_leave_the_root_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for asset, key in [("../oct", "key"), ("oct/tiles", "../key"), ("/oct", "key"), ("oct/", "key")]:
        with pytest.raises(ValueError, match="expected a name"):
            store.work(asset, key)
    with pytest.raises(ValueError, match="expected a name"):
        store.get("oct/tiles", "not-hex")


def test_a_second_builder_waits_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    order = []
    waiting = threading.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            waiting.set()

    handler = Told()
    logging.getLogger("pipeline.store.locks").addHandler(handler)

    def second() -> None:
        with Store(tmp_path).building("oct/tiles", "key"):
            order.append("second")

    thread = threading.Thread(target=second)
    with Store(tmp_path).building("oct/tiles", "key"):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    logging.getLogger("pipeline.store.locks").removeHandler(handler)
    assert order == ["first", "second"]
    assert "waiting until it finishes" in caplog.text


def test_two_publishers_of_one_version_end_with_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    errors = []

    def build(key: str) -> None:
        try:
            publish(Store(tmp_path), FIRST, "one", key)
        except Exception as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=build, args=(f"key{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    store.verify(store.get("oct/tiles", FIRST))


def test_write_file_leaves_the_old_content_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_file(path, b"old")

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("pipeline.store.files.os.replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_fingerprint_is_canonical_and_stable() -> None:
    @dataclass(frozen=True)
    class Config:
        a: int = 1
        b: tuple[int, ...] = (2,)

    assert fingerprint({"x": 1, "y": 2}) == fingerprint({"y": 2, "x": 1})
    assert fingerprint(Config()) == fingerprint({"a": 1, "b": [2]})
    assert fingerprint("a", "b") != fingerprint("ab")
    assert fingerprint("oct", 1) == "bbbf9b68d32f328e"
    with pytest.raises(TypeError, match="Path"):
        fingerprint(Path("x"))
    with pytest.raises(ValueError, match="JSON"):
        fingerprint(float("nan"))


def test_the_marker_holds_what_the_version_holds(tmp_path: Path) -> None:
    version = publish(Store(tmp_path), FIRST, "one")
    marker = json.loads((version.path / MARKER).read_text())
    assert list(marker["files"]) == ["inner/a.txt"]
    assert marker["files"]["inner/a.txt"]["bytes"] == 3
    assert marker["data_version"] == FIRST
    assert marker["meta"] == version.meta


def die_before_the_marker(root: Path) -> None:
    """Child of the kill test: one good version, then a publish that is killed before its marker."""
    import pipeline.store.versions as module

    store = Store(root)
    store.point(publish(store, FIRST, "one"))
    write = module.write_file

    def killing(path: Path, content: bytes) -> None:
        if path.name == MARKER:
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, content)

    module.write_file = killing
    publish(store, SECOND, "two", "next")


if __name__ == "__main__":
    die_before_the_marker(Path(sys.argv[1]))
