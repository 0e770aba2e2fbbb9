"""A download resumes where it was cut, from servers that help and servers that do not."""

import hashlib
import os
from pathlib import Path

import pytest

from pipeline.data.download.fetch import RETRIES, STAGING, fetch
from pipeline.data.download.sources import RemoteFile
from pipeline.errors import ContentDiffers, TransferFailed

WHOLE = os.urandom(300_000)
OTHER = os.urandom(300_000)


def checksum(content: bytes) -> dict[str, str]:
    return {"x.zip": f"sha256:{hashlib.sha256(content).hexdigest()}"}


@pytest.fixture
def download(files, tmp_path: Path, monkeypatch):
    """Download x.zip from the server and check it against its content there; its bytes."""
    files.content["x.zip"] = WHOLE
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)

    def go() -> bytes:
        fetch(RemoteFile(name="x.zip"), tmp_path, f"{files.url}/x.zip", site=checksum(files.content["x.zip"]))
        assert not (tmp_path / STAGING).exists()
        return (tmp_path / "x.zip").read_bytes()

    return go


@pytest.fixture
def cut(files, download) -> None:
    """An earlier download that kept one block."""
    files.cuts = [65_536] + [0] * RETRIES
    with pytest.raises(TransferFailed, match="65536 bytes are kept, the same command resumes"):
        download()
    files.cuts = []
    files.asked.clear()


def test_a_whole_file_takes_one_request(files, download):
    assert download() == WHOLE
    assert files.ranges_asked == [""]


def test_a_cut_connection_is_resumed(files, download):
    files.cuts = [65_536, 131_072]
    assert download() == WHOLE
    assert files.ranges_asked == ["", "bytes=65536-", "bytes=196608-"]


@pytest.mark.usefixtures("cut")
def test_a_later_call_resumes(files, download):
    assert download() == WHOLE
    assert files.ranges_asked == ["bytes=65536-"]


@pytest.mark.usefixtures("cut")
def test_a_file_that_changed_in_between_is_found_and_downloaded_anew(files, download):
    files.content["x.zip"] = OTHER
    with pytest.raises(ContentDiffers, match="run the same command again"):
        download()
    assert download() == OTHER
    assert files.ranges_asked == ["bytes=65536-", ""]


@pytest.mark.usefixtures("cut")
def test_a_file_that_became_shorter_than_the_part_is_downloaded_anew(files, download):
    files.content["x.zip"] = OTHER[:1_000]
    assert download() == OTHER[:1_000]
    assert files.ranges_asked == ["bytes=65536-", ""]


@pytest.mark.usefixtures("cut")
def test_a_server_without_ranges_starts_over(files, download):
    files.ranges = False
    assert download() == WHOLE


def test_a_busy_server_is_asked_again(files, download):
    files.answers = [(503, {}), (429, {"Retry-After": "7"}), (500, {})]
    assert download() == WHOLE


def test_a_refusal_is_not_repeated(files, download):
    files.answers = [(403, {})]
    with pytest.raises(TransferFailed, match="expected the file, got HTTP 403 Forbidden"):
        download()
    assert len(files.asked) == 1


def test_a_login_page_is_no_archive(files, download, tmp_path):
    files.kind = "text/html; charset=utf-8"
    with pytest.raises(TransferFailed, match="got a web page; the site requires a login"):
        download()
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.zip", "nowhere/x.zip"])
@pytest.mark.usefixtures("download")
def test_an_address_that_does_not_answer_is_named(tmp_path, url):
    with pytest.raises(TransferFailed, match=rf"{url}: the download failed: .*0 bytes are kept"):
        fetch(RemoteFile(name="x.zip"), tmp_path, url)
