"""Folders and names of kinds that were reported publicly: read right, or named in a sentence."""

import os
import socket
import tarfile
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from pipeline.data.datasets import DATASETS
from pipeline.data.decode import read_frames
from pipeline.data.manifest import content_version, make_manifest
from pipeline.data.raw import RawFolder, fingerprint
from pipeline.data.splits import ImagesConfig
from pipeline.data.user_datasets.dataset import read_own
from pipeline.data.walk import find_files, shown
from pipeline.detectors.folder.stream import stream
from pipeline.errors import UnusableImage
from tests.unit.problem_folders import MASKS, PART_A, PART_B, manifest, picture, put, spot


def test_a_name_that_is_not_utf8_is_escaped_and_read(problems, tmp_path):
    folder = tmp_path / "raw"
    with tarfile.open(problems / "08-name-not-utf8" / "inside.tar") as tar:
        tar.extractall(folder, filter="data")
    (file,) = find_files([folder])
    (frame,) = read_frames(file)
    assert frame.pixels.shape == (496, 512)
    assert frame.pixels.mean() == pytest.approx(43.93, abs=0.01)
    raw = RawFolder(folder)
    assert raw.paths() == [r"m_M\xfcller.jpeg"]
    assert raw.read(r"m_M\xfcller.jpeg") == file.read_bytes()
    assert fingerprint(raw, tmp_path / "cache") == fingerprint(RawFolder(folder))
    packed = RawFolder(problems / "08-name-not-utf8")
    assert packed.read(r"inside.tar!/m_M\xfcller.jpeg") == file.read_bytes()


def test_control_characters_and_lone_surrogates_are_escaped():
    assert shown("a\x1b[31m\r\n\u202e\ud800é\u00a0.png") == r"a\x1b[31m\r\n\u202e\ud800é" + "\u00a0.png"


def test_folders_of_storage_devices_are_left_out_and_counted(problems, tmp_path):
    root = problems / "23-nas-thumbnails" / "own"
    passed = Counter()
    assert sum("normal" in str(path) for path in find_files([root], passed)) == 14
    assert passed == {"system folder @eaDir": 1}
    raw = RawFolder(root)
    assert sum(path.startswith("normal/") for path in raw.paths()) == 14
    for name in ("#recycle", "$RECYCLE.BIN", "lost+found", "@Recycle", "System Volume Information", "__MACOSX", ".x"):
        put(tmp_path, f"{name}/a.png", b"\x89PNG\r\n")
    passed.clear()
    assert list(find_files([tmp_path], passed)) == []
    assert passed.total() == 7


def test_real_folders_count_once_and_the_shortest_way_to_them_wins(tmp_path):
    put(tmp_path, "raw/a/1.png", b"x")
    put(tmp_path, "raw/b/2.png", b"x")
    put(tmp_path, "far/3.png", b"x")
    links = {"loop": ".", "a/up": "..", "b/a": "../a", ".a": "a", "far": "../far", "ring": "ring"}
    for link, to in links.items():
        (tmp_path / "raw" / link).symlink_to(to)
    (tmp_path / "raw" / "dead.png").symlink_to("nowhere")
    raw = RawFolder(tmp_path / "raw")
    assert raw.paths() == ["a/1.png", "b/2.png", "far/3.png"]
    assert raw.passed == {"folder linked again": 3, "hidden": 1, "no regular file": 2}
    assert fingerprint(raw)


def test_pipes_and_sockets_are_named_and_not_opened(tmp_path):
    good = put(tmp_path, "a.png", b"x")
    os.mkfifo(tmp_path / "m.png")
    os.mkfifo(tmp_path / "plain")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "s.png"))
    passed = Counter()
    files = list(find_files([tmp_path], passed))
    assert files == [good, tmp_path / "m.png", tmp_path / "s.png"]
    assert passed == {"no regular file": 1}
    rows = list(stream(SimpleNamespace(), files[1:]))
    assert [(row.image, row.reason) for row in rows] == [
        (None, "expected a regular file, got a folder, pipe or device")
    ] * 2
    raw = RawFolder(tmp_path)
    assert raw.paths() == ["a.png"]
    assert raw.passed["no regular file"] == 3
    assert fingerprint(raw)


def test_content_tells_an_image_and_others_are_counted_by_kind(problems, tmp_path):
    names = {path.name for path in find_files([problems / "11-no-suffix-dicom", problems / "12-dicom-no-preamble"])}
    assert names == {"1.2.840.113.5", "IM000001", "a.dcm", "x.IMA", "m_no_preamble.dcm"}
    bare = (problems / "12-dicom-no-preamble" / "m_no_preamble.dcm").read_bytes()
    for name, data in (("scan", picture(1)), ("IM1", bare), ("DICOMDIR", bytes(128) + b"DICM"), ("b.pdf", b"%PDF")):
        put(tmp_path, name, data)
    put(tmp_path, "c.XLSX", b"PK\3\4")
    passed = Counter()
    assert [path.name for path in find_files([tmp_path], passed)] == ["IM1", "scan"]
    assert passed == {"DICOMDIR": 1, ".pdf": 1, ".xlsx": 1}


def test_an_unreadable_file_and_a_cut_record_stop_no_fingerprint(tmp_path, caplog, monkeypatch):
    later = time.time() + 10  # every file is settled
    monkeypatch.setattr("pipeline.data.raw.time.time", lambda: later)
    put(tmp_path, "raw/a.png", b"x")
    (tmp_path / "raw" / "b.png").symlink_to("/proc/self/mem")  # a regular file that cannot be read from its start
    if not (tmp_path / "raw" / "b.png").is_file():
        pytest.skip("needs /proc")
    cache = tmp_path / "cache"
    first = fingerprint(RawFolder(tmp_path / "raw"), cache)
    assert "cannot be read" in caplog.text
    (record,) = cache.glob("*.json")
    for damaged in ('{"a.png": ["1 2', '["a"]', '{"a.png": 3}', "\0"):
        record.write_text(damaged)
        assert fingerprint(RawFolder(tmp_path / "raw"), cache) == first
        assert "is damaged" in caplog.text
    with pytest.raises(UnusableImage, match="cannot be read"):
        RawFolder(tmp_path / "raw").read("b.png")


def test_counts_of_files_passed_over_are_kept_beside_the_manifest(idrid):
    plain = make_manifest(RawFolder(idrid), DATASETS["idrid"], ImagesConfig())
    put(idrid, "licence.TXT", b"text")
    put(idrid, "C. Localization/1. Original Images/a. Training Set/IDRiD_001.jpg", picture(70))
    images, reasons, counts = manifest(idrid)
    assert counts["passed_over"] == {".jpg outside the layout": 1, ".txt": 1}
    assert not reasons
    assert plain[2]["passed_over"] == {}
    assert content_version(*plain) == content_version(images, plain[1], counts)


# Names in the layouts


def test_names_and_suffixes_match_in_any_case(problems):
    found = DATASETS["oct"].scan(RawFolder(problems / "37v-capital-suffix" / "oct"))
    assert Counter((item.part, item.klass) for item in found) == {
        ("train", "normal"): 3,
        ("test", "normal"): 1,
        ("test", "CNV"): 2,
    }


@pytest.mark.parametrize(
    "name", ["IDRiD_01_HE.TIF", "IDRiD_01_HE.tiff", "IDRiD_01_he.png", "IDRiD_01_HE (1).tif", "idrid_01_HE - Copy.tif"]
)
def test_odd_names_of_masks_are_seen(idrid, name):
    put(idrid, f"{MASKS}/2. Haemorrhages/{name}", spot(9))
    images, reasons, _ = manifest(idrid)
    assert not reasons
    assert images.set_index("path").loc[f"{PART_A}/IDRiD_01.jpg", "masks"].count("IDRiD_01") + 1 >= 2
    assert name in "".join(images["masks"])


def test_capital_images_of_idrid_are_seen(idrid):
    for path in [*(idrid / PART_B).iterdir(), *(idrid / PART_A).iterdir()]:
        path.rename(path.with_suffix(".JPG"))
    images, reasons, _ = manifest(idrid)
    assert len(images) == 10
    assert not reasons


@pytest.mark.parametrize("name", ["IDRiD_01_HE_v2.tif", "IDRiD_01_Haem.tif", "01.png", "sub/IDRiD_01_HE.gif"])
def test_what_may_be_a_mask_is_named_and_takes_its_image_along(idrid, name):
    put(idrid, f"{MASKS}/2. Haemorrhages/{name}", spot() if "gif" not in name else b"GIF89a")
    images, reasons, _ = manifest(idrid)
    assert "looks like a mask" in reasons[f"{MASKS}/2. Haemorrhages/{name}"]
    assert "may be a mask of it" in reasons[f"{PART_A}/IDRiD_01.jpg"]
    assert len(images) == 9


def test_two_masks_of_a_lesion_that_differ_are_named(idrid):
    put(idrid, f"{MASKS}/1. Microaneurysms/IDRiD_01_MA (1).tif", spot(20))
    put(idrid, f"{MASKS}/1. Microaneurysms/IDRiD_02_MA (1).tif", spot())
    _, reasons, _ = manifest(idrid)
    assert list(reasons) == [f"{PART_A}/IDRiD_01.jpg"]
    assert "expected one mask of the lesion MA" in reasons[f"{PART_A}/IDRiD_01.jpg"]


def test_images_without_ground_truth_and_misplaced_ones_are_named(idrid, tmp_path):
    put(idrid, "X/1. Original Images/a. Training Set/IDRiD_77.jpg", picture(77))
    put(idrid, f"{PART_B}/fundus.jpg", picture(78))
    _, reasons, _ = manifest(idrid)
    assert set(reasons) == {"X/1. Original Images/a. Training Set/IDRiD_77.jpg", f"{PART_B}/fundus.jpg"}
    raw = tmp_path / "oct"
    for name in ("OCT2017/test/CNV/deep/CNV-1-1.jpeg", "OCT2017/CNV-2-2.jpeg", "OCT2017/val/NORMAL/NORMAL-3-1.jpeg"):
        put(raw, name, picture(3))
    folder = RawFolder(raw)
    assert DATASETS["oct"].scan(folder) == []
    assert len(folder.odd) == 2


def test_masks_of_own_data_match_in_any_case_and_the_others_are_named(tmp_path):
    for i in range(8):
        put(tmp_path, f"ok/{i}.jpg", picture(i))
    for name in ("a.jpg", "B.JPG", "c.jpg", "d.jpg"):
        put(tmp_path, f"ill/{name}", picture(ord(name[0])))
    for name in ("A_MASK.TIF", "b_mask.png", "c_mask (1).tif", "e_mask.tif", "d.tif"):
        put(tmp_path, f"masks/{name}", spot())
    file = put(tmp_path, "home/clinic.yaml", b"{normal: ../ok, abnormal: ../ill, masks: ../masks, mask_suffix: _mask}")
    own = read_own(file)
    raw = RawFolder(own.link_folders())
    found = {item.path: list(item.masks.values()) for item in own.row.scan(raw) if item.klass == "abnormal"}
    assert found == {
        "abnormal/B.JPG": ["masks/lesion/b_mask.png"],
        "abnormal/a.jpg": ["masks/lesion/A_MASK.TIF"],
        "abnormal/c.jpg": ["masks/lesion/c_mask (1).tif"],
        "abnormal/d.jpg": [],
    }
    assert list(raw.odd) == ["masks/lesion/e_mask.tif"]
