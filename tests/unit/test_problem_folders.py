"""Folders, archives, labels and outputs of kinds that were reported publicly: read right, or named in a sentence."""

import io
import os
import shutil
import socket
import sqlite3
import tarfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pipeline.data.archives import Archive
from pipeline.data.datasets import DATASETS, look
from pipeline.data.decode import read_frames
from pipeline.data.download.fetch import unpack
from pipeline.data.manifest import content_version, make_manifest
from pipeline.data.raw import RawFolder, fingerprint
from pipeline.data.sample.files import jpeg, tiff
from pipeline.data.splits import ImagesConfig
from pipeline.data.user_datasets.dataset import own_datasets, read_own
from pipeline.data.walk import find_files, shown
from pipeline.detectors.folder.output import ScoreFolder, read_table
from pipeline.detectors.folder.stream import ScoredFrame, stream
from pipeline.errors import ConfigError, ContentDiffers, DatasetUnusable, UnusableImage

SHAPE = (48, 64)
LABELS = "B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv"
PART_A = "A. Segmentation/1. Original Images/a. Training Set"
PART_B = "B. Disease Grading/1. Original Images/a. Training Set"
MASKS = "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set"


@pytest.fixture(scope="session")
def problems() -> Path:
    """The folder of problem files, which lies beside the checkout."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "problems"
    folder = Path(os.environ.get("PROXYANO_PROBLEMS", beside))
    if not folder.is_dir():
        pytest.skip(f"no problem files at {folder}: set PROXYANO_PROBLEMS to their folder")
    return folder


def picture(seed: int) -> bytes:
    return jpeg(np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), dtype=np.uint8))


def spot(row: int = 3) -> bytes:
    mask = np.zeros(SHAPE, bool)
    mask[row : row + 4, 4:9] = True
    return tiff(mask)


def put(root: Path, name: str, data: bytes) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)
    return root / name


@pytest.fixture
def idrid(tmp_path: Path) -> Path:
    """Eight normals with labels and two annotated images."""
    root = tmp_path / "idrid"
    for i in range(8):
        put(root, f"{PART_B}/IDRiD_{100 + i}.jpg", picture(i))
    grades(root, [f"IDRiD_{100 + i},0" for i in range(8)])
    for i in (1, 2):
        put(root, f"{PART_A}/IDRiD_0{i}.jpg", picture(50 + i))
        put(root, f"{MASKS}/1. Microaneurysms/IDRiD_0{i}_MA.tif", spot())
    return root


def grades(root: Path, lines: list[str], header: str = "Image name,Retinopathy grade", name: str = LABELS) -> None:
    put(root, name, "\r\n".join([header, *lines, ""]).encode())


def manifest(root: Path, dataset: str = "idrid") -> tuple[pd.DataFrame, dict[str, str], dict]:
    images, quarantine, counts = make_manifest(RawFolder(root), DATASETS[dataset], ImagesConfig())
    return images, dict(zip(quarantine["path"], quarantine["reason"], strict=True)), counts


# The walker


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
    assert [(row.image, row.reason) for row in rows] == [(None, "expected a regular file, got a folder, pipe or device")] * 2
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


# Labels


def test_rows_that_conflict_are_named_and_the_last_does_not_win(idrid):
    grades(idrid, [f"IDRiD_{100 + i},0" for i in range(8)] + ["IDRiD_103,0", "IDRiD_105,3"])
    images, reasons, _ = manifest(idrid)
    assert len(images) == 9
    assert reasons == {
        f"{PART_B}/IDRiD_105.jpg": "conflicting labels: its rows or columns have the grades [0, 3]",
    }


def test_two_columns_or_files_of_grades_that_differ_are_named(idrid):
    lines = [f"IDRiD_{100 + i},0,{2 if i == 4 else 0}" for i in range(8)]
    grades(idrid, lines, "Image name,Retinopathy grade,Retinopathy grade (corrected)")
    assert list(manifest(idrid)[1]) == [f"{PART_B}/IDRiD_104.jpg"]
    grades(idrid, ["IDRiD_106,1"], name=LABELS.replace(".csv", " (1).CSV"))
    assert list(manifest(idrid)[1]) == [f"{PART_B}/IDRiD_104.jpg", f"{PART_B}/IDRiD_106.jpg"]


def test_a_stray_quotation_mark_loses_its_own_line_alone(idrid):
    grades(idrid, [f"{chr(34) if i == 2 else ''}IDRiD_{100 + i},0" for i in range(8)])
    images, reasons, _ = manifest(idrid)
    assert len(images) == 9
    assert "stray quotation mark: 4 (1 in all)" in reasons[LABELS]
    assert reasons[f"{PART_B}/IDRiD_102.jpg"] == "not used: no label file has a row for it"


def test_rows_that_were_lost_are_counted_and_their_images_named(idrid):
    text = (idrid / LABELS).read_bytes()
    (idrid / LABELS).write_bytes(text[: text.index(b"IDRiD_105") + 6])
    images, reasons, _ = manifest(idrid)
    assert len(images) == 7
    lost = [f"{PART_B}/IDRiD_{i}.jpg" for i in (105, 106, 107)]
    beside = "B. Disease Grading/2. Groundtruths (a)"
    assert set(reasons) == {*lost, LABELS, beside}
    assert "3 images have no row" in reasons[beside]


def test_too_few_normals_are_told_before_anything_is_trained(idrid):
    for i in (7, 6, 5):
        (idrid / PART_B / f"IDRiD_{100 + i}.jpg").unlink()
    images, _, _ = manifest(idrid)
    assert images[images["label"] == 0]["split"].value_counts().to_dict() == {"train": 2, "val": 2, "holdout": 1}
    for i in (4, 3):
        (idrid / PART_B / f"IDRiD_{100 + i}.jpg").unlink()
    with pytest.raises(DatasetUnusable, match="at least 4 patients or groups, for 3 splits, got 3; add normals"):
        manifest(idrid)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("normal: a\nabnormal: b\nshares: [.nan, .nan, .nan, .nan]", r"shares: .*sum 1"),
        ("normal: a\nabnormal: b\nshares: [.inf, 0.1, 0.1, 0.1]", r"shares: .*sum 1"),
        ("a: &a [x]\nb: &b [*a" + ", *a" * 9 + "]\nc: &c [*b" + ", *b" * 9 + "]\nd: [*c" + ", *c" * 9 + "]", "aliases"),
        ("normal: &a [*a]\nabnormal: b", "normal"),
        ("normal: " + "[" * 5000, "readable YAML"),
        ("normal: loop\nabnormal: b", "normal: expected a folder of images"),
    ],
)  # fmt: skip
def test_a_description_that_does_not_do_gives_a_sentence_and_stops_no_other(tmp_path, caplog, text, told):
    home = tmp_path / "home"
    put(tmp_path, "ok/1.jpg", b"x")
    put(home, "ward.yaml", b"{normal: ../ok, abnormal: ../ill}")
    file = put(home, "clinic.yaml", text.encode())
    (home / "loop").symlink_to("loop")
    with pytest.raises((ConfigError, DatasetUnusable), match=told) as caught:
        read_own(file).link_folders()
    assert len(str(caught.value)) < 1000
    assert "ward" in {own.name for own in own_datasets(home)}


# Archives


def tarred(path: Path, *items: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for info, data in items:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def test_archives_of_every_kind_are_read_or_named(problems):
    raw = RawFolder(problems / "46-archives")
    assert Counter(path.partition("!/")[0] for path in raw.paths()) == {
        "SET.TAR": 14, "set.tar.xz": 14, "oct_backslash.zip": 6, "slashes.zip": 6,
    }  # fmt: skip
    assert list(raw.broken) == ["outer.zip!/inner.zip"]
    assert all(next(iter(raw.read(path)[:4])) in (0x89, 0xFF) for path in raw.paths())
    assert "slashes.zip!/set/sub/x0.png" in raw.paths()


def test_backslashes_of_old_windows_tools_are_folders(problems, tmp_path):
    (tmp_path / "oct").mkdir()
    shutil.copy(problems / "46-archives" / "oct_backslash.zip", tmp_path / "oct" / "archive.zip")
    assert look(DATASETS["oct"], tmp_path / "oct").images == 6
    made = unpack(tmp_path / "oct" / "archive.zip", tmp_path)
    assert len(list(made.rglob("test/CNV/*.jpeg"))) == 2


def test_deflate64_gives_one_sentence(problems, tmp_path):
    raw = RawFolder(problems / "28-deflate64-zip")
    assert raw.paths() == []
    assert list(raw.broken) == ["windows.zip"]
    assert raw.broken["windows.zip"].startswith("14 files are packed by method 9 (Deflate64")
    with pytest.raises(ContentDiffers, match="method 9"):
        unpack(problems / "28-deflate64-zip" / "windows.zip", tmp_path)


@pytest.mark.parametrize("suffix", ["7z", "rar", "tar.zst", "zip.001", "png.gz", "tar.lz"])
def test_foreign_archives_are_named(idrid, suffix):
    put(idrid, f"more.{suffix}", b"7z\xbc\xaf")
    assert "not read: unpack it" in manifest(idrid)[1][f"more.{suffix}"]


@pytest.mark.parametrize("how", ["a.tar.bz2 w:bz2", "a.TXZ w:xz", "a.tar.gz w", "a.tar w:gz"])
def test_the_content_tells_how_a_tar_is_packed(tmp_path, how):
    name, mode = how.split()
    tarred(tmp_path / name, (member("in/a.png"), b"one"), mode=mode)
    for cache in (None, tmp_path / ".cache"):
        raw = RawFolder(tmp_path, cache)
        assert raw.read(f"{name}!/in/a.png") == b"one"
    assert (unpack(tmp_path / name, tmp_path) / "a.png").read_bytes() == b"one"


def test_sparse_members_and_links_of_a_tar_are_read_right(tmp_path):
    data = b"start" + bytes(1 << 20) + b"end"
    for number, (major, held) in enumerate([("1", True), ("0", False)]):
        info = member(f"s{number}.png")
        pieces = [(0, 5), (len(data) - 3, 3)]
        if held:
            head = f"{len(pieces)}\n" + "".join(f"{at}\n{size}\n" for at, size in pieces)
            packed = head.encode().ljust(512, b"\0") + b"startend"
            info.pax_headers = {"GNU.sparse.major": major, "GNU.sparse.minor": "0"}
        else:
            packed = b"startend"
            places = ",".join(f"{at},{size}" for at, size in pieces)
            info.pax_headers = {"GNU.sparse.map": places, "GNU.sparse.size": str(len(data))}
        info.pax_headers |= {"GNU.sparse.realsize": str(len(data)), "GNU.sparse.name": info.name}
        hard, soft = member("d/hard.png", tarfile.LNKTYPE, "a.png"), member("d/soft.png", tarfile.SYMTYPE, "hard.png")
        path = tmp_path / f"{number}.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for one, content in [(member("a.png"), b"one"), (info, packed), (hard, b""), (soft, b"")]:
                one.size = len(content)
                tar.addfile(one, io.BytesIO(content))
        archive = Archive(path, None)
        assert archive.read(info.name) == data
        assert [archive.read(name) for name in ("a.png", "d/hard.png", "d/soft.png")] == [b"one"] * 3
        assert archive.problem == ""


def test_a_link_out_of_a_tar_is_no_member(tmp_path):
    tarred(tmp_path / "a.tar", (member("a.png"), b"x"), (member("p.png", tarfile.SYMTYPE, "/etc/passwd"), b""))
    assert RawFolder(tmp_path).paths() == ["a.tar!/a.png"]


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.GNUTYPE_SPARSE])
def test_negative_sizes_of_a_tar_end(tmp_path, kind):
    bad = member("b.png", kind)
    bad.size = -1024
    good = tarred(tmp_path / "a.tar", (member("a.png"), b"one")).read_bytes()[:1024]
    (tmp_path / "a.tar").write_bytes(good + bad.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    raw = RawFolder(tmp_path)
    assert raw.paths() == ["a.tar!/a.png"]
    assert "1 files of it are read" in raw.broken["a.tar"]
    with pytest.raises(ContentDiffers):
        unpack(tmp_path / "a.tar", tmp_path)


@pytest.mark.parametrize("cut", [1024, 1300, 2 * 1024 - 200])
def test_a_cut_tar_names_what_is_lost_and_keeps_what_is_whole(tmp_path, cut):
    path = tarred(tmp_path / "a.tar", *((member(f"{i}.png"), b"one") for i in range(5)))
    path.write_bytes(path.read_bytes()[:cut])
    raw = RawFolder(tmp_path)
    found = len(raw.paths())
    assert raw.broken["a.tar"].startswith(f"{found} files of it are read, and it ends")
    assert raw.read("a.tar!/0.png") == b"one"


def test_bombs_are_refused_before_memory_is_taken(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(100 << 20))
    with pytest.raises(UnusableImage, match="no archive bomb, got 104857600 bytes from"):
        RawFolder(tmp_path).read("a.zip!/a.png")
    tarred(tmp_path / "b.tar.gz", (member("a.png"), bytes(100 << 20)), mode="w:gz")
    raw = RawFolder(tmp_path)
    assert raw.paths() == ["a.zip!/a.png"]
    assert "archive bomb" in raw.broken["b.tar.gz"]


def test_a_damaged_archive_beside_its_unpacked_files_is_named_and_the_files_are_used(idrid):
    path = idrid / "B. Disease Grading.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((idrid / "B. Disease Grading").rglob("*.*")):
            archive.write(file, file.relative_to(idrid / "B. Disease Grading"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    images, reasons, _ = manifest(idrid)
    assert len(images) == 10
    assert not images["path"].str.contains("!").any()
    assert len(reasons) >= 1
    assert all("!/" in name or "(a)" in name for name in reasons)


# Output of ``proxyano score``


class Scored:
    """A scored image, as far as the folder uses it."""

    score, false_alarm_rate, false_alarm_rate_high, in_domain, distance = 1.5, 0.025, 0.1, True, 0.7
    maps: dict = {}  # noqa: RUF012

    def regions(self, rate):
        return ()

    def decision(self, rate):
        return "normal"

    def overlay(self, rate):
        return b"\x89PNG\r\n"


DETECTOR = SimpleNamespace(dataset="oct", data_version="0123456789abcdef", name="committee")


def score(folder: Path, files: list[Path], *, overlays: bool = True, finish: bool = True) -> ScoreFolder:
    made = ScoreFolder(folder, DETECTOR, 0.05, files, overlays=overlays)
    for file in made.left:
        made.add(ScoredFrame(file, "ab" * 32, 0, Scored()))
    if finish:
        made.finish(["csv", "json", "parquet"])
    return made


def test_long_and_odd_names_get_rows_and_overlays(problems, tmp_path):
    (long,) = (problems / "09-long-name").glob("*.png")
    odd = [os.fsdecode(b"M\xfcller.png"), "ä" * 120 + ".png", "a\rb\n\x1b[2J.png", "=cmd|' /C calc'!A0"]
    odd = [Path(name) for name in odd]
    score(tmp_path / "out", [long, *odd])
    table = read_table(tmp_path / "out" / "scores.csv")
    assert len(table) == 5
    assert table["path"][1] == r"M\xfcller.png"
    assert table["path"][4].startswith("'=cmd|")
    assert b"\r" not in (tmp_path / "out" / "scores.csv").read_bytes()
    assert all((tmp_path / "out" / name).is_file() for name in table["overlay"])
    assert max(len(os.fsencode(Path(name).name)) for name in table["overlay"]) < 240
    assert pd.read_parquet(tmp_path / "out" / "scores.parquet")["path"][4] == str(odd[3])


def test_cells_that_begin_like_a_formula_are_text_and_numbers_stay(tmp_path):
    names = ["=a.png", "+a.png", "-a.png", "@a.png", 'a,b;"c".png']
    score(tmp_path / "out", [Path(name) for name in names])
    table = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert table["path"].tolist() == [f"'{name}" for name in names[:4]] + names[4:]
    assert table["score"].tolist() == [1.5] * 5


def test_own_overlays_are_never_scored(tmp_path):
    counts = []
    for number in range(3):
        put(tmp_path, f"{min(number, 1)}.png", picture(number))
        put(tmp_path, "also.png", picture(9))
        files = list(find_files([tmp_path]))
        score(tmp_path / "scores", files)
        score(tmp_path / "old" / "monday", files)
        counts.append(len(files))
    assert counts == [2, 3, 3]
    assert len(RawFolder(tmp_path).paths()) == 3 + 4  # with the tables
    for name in ("dagster/a", "stores/a", "sample/oct/1.png"):
        put(tmp_path, f"home/{name}", picture(12))
    assert len(list(find_files([tmp_path]))) == 3
    put(tmp_path, "p/overlays/mine.png", picture(11))
    assert tmp_path / "p" / "overlays" / "mine.png" in list(find_files([tmp_path]))


def test_an_interrupted_run_with_odd_names_is_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [put(Path(), name, b"x") for name in (os.fsdecode(b"a\xfc.png"), "=b.png", "c.png")]
    monkeypatch.setattr("pipeline.detectors.folder.output.file_sha256", lambda path: "ab" * 32)
    score(tmp_path / "out", files, finish=False)
    assert score(tmp_path / "out", files).left == files[2:]


# A moved home


def test_artifacts_follow_a_moved_home(tmp_path):
    from pipeline.wiring.doctor_checks import tracking
    from pipeline.wiring.tracking import Tracker

    old, new = tmp_path / "h1", tmp_path / "h2"
    tracker = Tracker(uri=f"sqlite:///{old}/mlflow.db", page="", artifacts=old / "mlruns")
    run = tracker.client.create_run(tracker._experiment("oct")).info.run_id
    tracker.client.log_text(run, "text", "a.txt")
    old.rename(new)
    uri = f"sqlite:///{new}/mlflow.db"
    assert "the home was moved" in tracking(uri, new / "mlruns").found
    moved = Tracker(uri=uri, page="", artifacts=new / "mlruns")
    assert moved.client.get_experiment_by_name("oct").artifact_location == (new / "mlruns" / "oct").as_uri()
    assert [item.path for item in moved.client.list_artifacts(run)] == ["a.txt"]
    assert tracking(uri, new / "mlruns").state == "ok"
    assert not old.exists()
    with sqlite3.connect(new / "mlflow.db") as database:
        assert str(old) not in "".join(map(str, database.execute("SELECT artifact_uri FROM runs")))
