"""Labels and archives of kinds that were reported publicly: read right, or named in a sentence."""

import io
import shutil
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from pipeline.data.archives import Archive
from pipeline.data.datasets import DATASETS, look
from pipeline.data.download.fetch import unpack
from pipeline.data.raw import RawFolder
from pipeline.data.user_datasets.dataset import own_datasets, read_own
from pipeline.errors import ConfigError, ContentDiffers, DatasetUnusable, UnusableImage
from tests.unit.problem_folders import LABELS, PART_B, grades, manifest, put

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
        ("normal: " + "x" * 300 + "\nabnormal: b", "normal: expected a folder of images"),  # longer than names can be
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
        "SET.TAR": 14, "set.tar.xz": 14, "oct_backslash.zip": 6, "outer.zip": 14, "slashes.zip": 6,
    }  # fmt: skip
    assert raw.broken == {}
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
