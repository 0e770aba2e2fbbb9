"""Files in their place: hashes that are known, recorded and enforced, and a process that is killed."""

import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from pipeline.data.datasets import DATASETS
from pipeline.data.download.fetch import CHECKSUMS, RETRIES, STAGING, UNPACKED, address, fetch, published, recorded
from pipeline.data.download.sources import SOURCES, RemoteFile
from pipeline.errors import ContentDiffers, TransferFailed

BUFFER = io.BytesIO()
with zipfile.ZipFile(BUFFER, "w") as packed:
    packed.writestr("a.jpg", os.urandom(200_000))
WHOLE = BUFFER.getvalue()
SHA = hashlib.sha256(WHOLE).hexdigest()
MD5 = hashlib.md5(WHOLE, usedforsecurity=False).hexdigest()
FILE = RemoteFile(name="x y.zip")


@pytest.fixture
def get(files, tmp_path: Path, monkeypatch):
    """Fetch the file from the server into the folder."""
    files.content["oct/x y.zip"] = WHOLE

    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)

    def go(file: RemoteFile = FILE, **settings):
        return fetch(file, tmp_path, address(file, "oct", files.url), **settings)

    return go


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_first_download_is_recorded_and_enforced_afterwards(files, get, tmp_path):
    first = get()
    assert (first.downloaded, first.sha256, first.checked) == (True, SHA, {})
    assert names(tmp_path) == [CHECKSUMS, "x y.zip"]
    entry = recorded(tmp_path)["x y.zip"]
    assert (entry["sha256"], entry["bytes"], entry["from"]) == (SHA, len(WHOLE), f"{files.url}/oct/x%20y.zip")
    again = get()
    assert (again.downloaded, list(again.checked.values())) == (False, [f"sha256:{SHA}"])
    assert len(files.asked) == 1
    (tmp_path / "x y.zip").write_bytes(WHOLE[:-1])
    with pytest.raises(ContentDiffers, match=rf"expected sha256:{SHA} \(checksums.json, .*\), got .*remove its entry"):
        get()
    (tmp_path / "x y.zip").unlink()
    files.content["oct/x y.zip"] = WHOLE[:-1]
    with pytest.raises(ContentDiffers, match=rf"expected sha256:{SHA} \(checksums.json.*run the same command again"):
        get()
    assert "x y.zip" not in names(tmp_path)


def test_what_the_site_publishes_is_enforced(get, tmp_path):
    good = get(site={"x y.zip": f"md5:{MD5}"})
    assert list(good.checked) == ["the site's own record"]
    assert good.sha256 == SHA
    (tmp_path / CHECKSUMS).unlink()
    (tmp_path / "x y.zip").unlink()
    with pytest.raises(ContentDiffers, match=r"expected md5:0{32} \(the site's own record\), got"):
        get(site={"x y.zip": f"md5:{'0' * 32}"})
    assert recorded(tmp_path) == {}
    assert not (tmp_path / "x y.zip").exists()


def test_every_known_checksum_counts(get, tmp_path):
    wrong = RemoteFile(name="x y.zip", sha256="0" * 64, reported_by="a friend")
    with pytest.raises(ContentDiffers, match=r"expected sha256:0{64} \(a friend\), got"):
        get(wrong, site={"x y.zip": f"md5:{MD5}"})
    assert not (tmp_path / "x y.zip").exists()
    right = get(RemoteFile(name="x y.zip", sha256=SHA, reported_by="a friend"), site={"x y.zip": f"md5:{MD5}"})
    assert list(right.checked) == ["the site's own record", "a friend"]


def test_a_file_placed_by_hand_is_compared_not_replaced(files, get, tmp_path):
    (tmp_path / "x y.zip").write_bytes(b"something else")
    with pytest.raises(ContentDiffers, match=r"a friend.*correct its row in pipeline/data/download/sources\.py"):
        get(RemoteFile(name="x y.zip", sha256=SHA, reported_by="a friend"))
    assert (tmp_path / "x y.zip").read_bytes() == b"something else"
    assert files.asked == []


def test_an_unpacked_archive_is_not_fetched_again(files, get, tmp_path):
    (tmp_path / UNPACKED).mkdir()
    (tmp_path / UNPACKED / "x y.zip").write_bytes(WHOLE)
    assert get().path == tmp_path / UNPACKED / "x y.zip"
    assert files.asked == []


def test_what_is_no_whole_archive_is_not_recorded(files, get, tmp_path):
    files.content["oct/x y.zip"] = WHOLE[:1_000]
    with pytest.raises(ContentDiffers, match="expected a whole archive: it cannot be read to its end"):
        get()
    files.content["oct/x y.zip"] = WHOLE
    assert get().sha256 == SHA


def test_a_cut_download_is_kept_where_no_lane_reads(files, get, tmp_path):
    files.cuts = [65_536] + [0] * RETRIES
    with pytest.raises(TransferFailed, match="65536 bytes are kept, the same command resumes"):
        get()
    assert names(tmp_path) == [STAGING]
    files.cuts, files.asked = [], []
    assert get().sha256 == SHA
    assert files.ranges_asked == ["bytes=65536-"]
    assert names(tmp_path) == [CHECKSUMS, "x y.zip"]


def test_a_killed_process_goes_on(files, get, tmp_path):
    files.stalls = 100_000
    code = (
        "import sys; from pathlib import Path; from pipeline.data.download.fetch import fetch, RemoteFile;"
        "fetch(RemoteFile(name='x y.zip'), Path(sys.argv[1]), sys.argv[2])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), address(FILE, "oct", files.url)])
    part = tmp_path / STAGING / "x y.zip" / "x y.zip.part"
    until = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    process.kill()
    process.wait()
    had = part.stat().st_size
    files.stalls, files.asked = None, []
    files.go.set()
    assert get().sha256 == SHA
    assert files.ranges_asked == [f"bytes={had}-"]
    assert names(tmp_path) == [CHECKSUMS, "x y.zip"]


def test_a_full_disk_is_told_before_the_first_byte(files, get, tmp_path):
    with pytest.raises(TransferFailed, match="expected room for 1152921504606846976 more bytes"):
        get(RemoteFile(name="x y.zip", size=1 << 60))
    assert files.asked == []


def test_the_records_of_both_sites_are_read(files):
    zenodo = {"files": [{"key": "A. x.zip", "size": 3, "checksum": f"md5:{MD5}"}]}
    mendeley = [{"filename": "x.tar.gz", "content_details": {"sha256_hash": SHA, "size": 3}}]
    files.content |= {"zenodo": json.dumps(zenodo).encode(), "mendeley": json.dumps(mendeley).encode()}
    assert published(f"{files.url}/zenodo") == {"A. x.zip": f"md5:{MD5}"}
    assert published(f"{files.url}/mendeley") == {"x.tar.gz": f"sha256:{SHA}"}


@pytest.mark.parametrize("content", [b"{}", b"[1]", b"<html>", b'[{"filename": "x"}]'])
def test_a_record_of_another_form_says_so(files, content):
    files.content["record"] = content
    with pytest.raises(TransferFailed, match="expected a list of files with checksums"):
        published(f"{files.url}/record")


def test_every_data_set_has_a_source_with_steps_and_the_addresses_are_complete():
    assert SOURCES.keys() == DATASETS.keys()
    for name, source in SOURCES.items():
        assert source.page.startswith("https://"), name
        assert any("{folder}" in step for step in source.steps), name
        for file in source.files:
            assert file.url == "" or file.url.startswith("https://")
            assert bool(file.sha256) == bool(file.reported_by)
            assert len(file.sha256) in (0, 64)
