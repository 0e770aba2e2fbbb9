"""A file that goes on where it was cut, from servers that help and servers that do not."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.data.download.transfer import Resuming
from pipeline.errors import TransferFailed

WHOLE = os.urandom(300_000)
OTHER = os.urandom(300_000)


@pytest.fixture
def bring(files, tmp_path: Path) -> Callable[..., bytes]:
    """Download x.zip from the server; its bytes."""
    files.content["x.zip"] = WHOLE

    def go(**settings) -> bytes:
        part, target = tmp_path / "x.zip.part", tmp_path / "x.zip"
        Resuming(part=part, **({"wait": 0.0} | settings))(f"{files.url}/x.zip", str(target), None)
        assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]
        return target.read_bytes()

    return go


def cut(files, bring, after: int) -> None:
    """A download that ends early and is given up."""
    files.cuts = [after]
    with pytest.raises(TransferFailed, match=f"{after} bytes are kept, the same command goes on"):
        bring(attempts=1)
    files.asked.clear()


def test_a_whole_file_comes_in_one_request_and_tells_its_progress(files, bring):
    told = []
    assert bring(progress=lambda have, total: told.append((have, total))) == WHOLE
    assert files.ranges_asked == [""]
    assert told[0] == (0, len(WHOLE))
    assert told[-1] == (len(WHOLE), len(WHOLE))


def test_a_cut_connection_goes_on_by_itself(files, bring):
    files.cuts = [1_000, 50_000]
    assert bring() == WHOLE
    assert files.ranges_asked == ["", "bytes=1000-", "bytes=51000-"]
    assert files.asked[1]["If-Range"] == '"one"'


def test_a_later_call_goes_on_from_the_part(files, bring):
    cut(files, bring, 70_000)
    told = []
    assert bring(progress=lambda have, total: told.append((have, total))) == WHOLE
    assert files.ranges_asked == ["bytes=70000-"]
    assert told[0] == (70_000, len(WHOLE))


def test_last_modified_serves_where_the_etag_is_weak(files, bring):
    files.etag, files.modified = 'W/"one"', "Mon, 01 Jan 2024 00:00:00 GMT"
    cut(files, bring, 70_000)
    assert bring() == WHOLE
    assert files.asked[0]["If-Range"] == files.modified


@pytest.mark.parametrize("heeds", [True, False])
def test_a_file_that_changed_meanwhile_comes_anew(files, bring, heeds):
    cut(files, bring, 70_000)
    files.content["x.zip"], files.etag, files.heeds_if_range = OTHER, '"two"', heeds
    assert bring() == OTHER


def test_a_file_that_became_shorter_than_the_part_comes_anew(files, bring):
    cut(files, bring, 70_000)
    files.content["x.zip"], files.heeds_if_range = OTHER[:1_000], False
    assert bring() == OTHER[:1_000]
    assert files.ranges_asked == ["bytes=70000-", ""]


def test_a_server_without_ranges_begins_again(files, bring):
    files.ranges = False
    cut(files, bring, 70_000)
    assert bring() == WHOLE


def test_a_server_that_names_no_version_is_not_asked_for_a_rest(files, bring):
    files.etag = None
    cut(files, bring, 70_000)
    assert bring() == WHOLE
    assert files.ranges_asked == [""]


def test_a_part_of_another_address_is_not_gone_on_with(files, bring, tmp_path):
    cut(files, bring, 70_000)
    state = tmp_path / "x.zip.part.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"url": "http://elsewhere/x.zip"}))
    assert bring() == WHOLE
    assert files.ranges_asked == [""]


def test_a_kill_after_the_last_byte_needs_no_request(files, bring, tmp_path):
    cut(files, bring, 70_000)
    (tmp_path / "x.zip.part").write_bytes(WHOLE)
    assert bring() == WHOLE
    assert files.asked == []


def test_a_busy_server_is_asked_again(files, bring, monkeypatch):
    slept = []
    monkeypatch.setattr("pipeline.data.download.transfer.time.sleep", slept.append)
    files.answers = [(503, {}), (429, {"Retry-After": "7"}), (500, {})]
    assert bring(wait=1.0) == WHOLE
    assert slept == [1, 7, 4]


def test_cuts_that_bring_nothing_new_end_it(files, bring):
    files.ranges, files.cuts = False, [1_000] * 9
    with pytest.raises(TransferFailed, match=r"3 attempts in a row brought nothing new, .*1000 bytes"):
        bring(attempts=3)
    assert len(files.asked) == 3


def test_a_refusal_is_not_repeated(files, bring):
    files.answers = [(403, {})]
    with pytest.raises(TransferFailed, match="expected the file, got HTTP 403 Forbidden"):
        bring()
    assert len(files.asked) == 1


def test_a_login_page_is_no_archive(files, bring, tmp_path):
    files.kind = "text/html; charset=utf-8"
    with pytest.raises(TransferFailed, match="got a web page; the site wants a login"):
        bring()
    assert list(tmp_path.iterdir()) == []


def test_nobody_listens(tmp_path):
    with pytest.raises(TransferFailed, match="2 attempts in a row"):
        Resuming(part=tmp_path / "p", attempts=2, wait=0.0)("http://127.0.0.1:9/x.zip", str(tmp_path / "x"), None)


def test_an_address_that_is_none_says_so(tmp_path):
    with pytest.raises(TransferFailed, match="expected an address that answers"):
        Resuming(part=tmp_path / "p")("nowhere/x.zip", str(tmp_path / "x"), None)
