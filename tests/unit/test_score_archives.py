"""Archives as inputs of ``proxyano score``: the same rows as of the unpacked folder, under the archive's name."""

import io
import tarfile
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from benchmarks.fuzz_seeds import nifti, picture, saved
from pipeline.data.members import Member, Refused, find_inputs
from pipeline.detectors.folder.output import ScoreFolder, read_table
from pipeline.detectors.folder.stream import file_sha256, stream
from tests.unit.bad_files import Image, bad_files
from tests.unit.test_problem_files import Told

PNG = saved(Image.fromarray(picture()), "PNG")
FILES = {"a/one.png": PNG, "a/two.nii.gz": nifti()["u8.nii.gz"], "bare": PNG, "a/note.txt": b"x", ".hidden/x.png": PNG}


def packed(path: Path, files: dict[str, bytes]) -> Path:
    """An archive of the kind that its name says."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    mode = {".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz", ".TAR": "w"}[path.suffix]
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def rows(*paths: Path) -> list[tuple[str, int, bool, str, str]]:
    """Path below the first one's folder, frame, whether scored, reason, hash."""
    above = f"{paths[0].parent}/"
    found = stream(Told(), find_inputs(paths, Counter()))
    return [
        (str(one.path).removeprefix(above), one.number, one.image is not None, one.reason, one.sha256) for one in found
    ]


@pytest.mark.parametrize("name", ["a.zip", "b.TAR", "c.tar.gz", "d.tar.bz2", "e.tar.xz"])
def test_members_are_scored_under_the_name_of_their_archive(tmp_path, name):
    passed = Counter()
    path = packed(tmp_path / name, FILES)
    assert [str(one.path.relative_to(tmp_path)) for one in find_inputs([tmp_path], passed)] == [
        f"{name}!/a/one.png", f"{name}!/a/two.nii.gz", f"{name}!/bare",
    ]  # fmt: skip
    assert passed == {".txt": 1, "hidden": 1}
    found = rows(path)
    assert [row[:3] for row in found] == [
        (f"{name}!/a/one.png", 0, True),
        *((f"{name}!/a/two.nii.gz", number, True) for number in range(3)),
        (f"{name}!/bare", 0, True),
    ]
    (tmp_path / "one.png").write_bytes(PNG)
    assert found[0][4] == file_sha256(tmp_path / "one.png") != ""


def test_an_archive_in_an_archive_is_read_and_a_deeper_one_is_named(tmp_path):
    deep = packed(tmp_path / "deep.zip", {"x.png": PNG}).read_bytes()
    inner = packed(tmp_path / "inner.tar.gz", {"one.png": PNG, "deep.zip": deep}).read_bytes()
    outer = packed(tmp_path / "outer.zip", {"in.tar.gz": inner, "cut.zip": deep[:-20], "b.7z": b"7z"})
    assert [(row[0], row[2]) for row in rows(outer)] == [
        ("outer.zip!/cut.zip", False),
        ("outer.zip!/b.7z", False),
        ("outer.zip!/in.tar.gz!/deep.zip", False),
        ("outer.zip!/in.tar.gz!/one.png", True),
    ]


def test_too_many_archives_in_an_archive_are_refused_before_the_disk_is_taken(tmp_path, monkeypatch):
    inner = packed(tmp_path / "inner.zip", {"one.png": PNG}).read_bytes()
    monkeypatch.setattr("pipeline.data.archives.SMALL", 3 * len(inner))
    monkeypatch.setattr("pipeline.data.archives.MAX_RATIO", 0)
    found = rows(packed(tmp_path / "outer.zip", {f"{number}.zip": inner for number in range(5)}))
    assert [row[2] for row in found] == [False, False, True, True, True]
    assert all("expected no archive bomb" in row[3] for row in found[:2])


def test_a_header_is_read_with_the_file_of_its_voxels(tmp_path):
    volume = nibabel.Nifti1Pair(np.stack([picture()] * 3, -1).astype(np.int16), np.eye(4))
    nibabel.save(volume, tmp_path / "v.hdr")
    files = {f"in/v{suffix}": (tmp_path / f"v{suffix}").read_bytes() for suffix in (".hdr", ".img")}
    assert [row[:3] for row in rows(packed(tmp_path / "a.zip", files))] == [
        ("a.zip!/in/v.hdr", number, True) for number in range(3)
    ]


def test_names_that_leave_the_archive_are_only_names(tmp_path):
    names = ["in/../up.png", "/root.png", "a\nb.png", "C:\\x.png", "n" * 250 + ".png"]
    found = rows(packed(tmp_path / "a.zip", dict.fromkeys(names, PNG)))
    assert len(found) == 4  # a part that begins with a dot counts as hidden
    assert all(row[2] for row in found)
    assert not list(tmp_path.rglob("*.png"))


def test_bad_members_have_the_reasons_of_bad_files(tmp_path):
    bad = bad_files()
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, (content, _) in bad.items():
        (folder / name).write_bytes(content)
    loose = {name: reason for name, _, _, reason, _ in rows(*sorted(folder.iterdir()))}
    inside = rows(packed(tmp_path / "all.zip", {name: content for name, (content, _) in bad.items()}))
    assert {name.partition("!/")[2]: reason for name, _, _, reason, _ in inside} == loose
    assert len(inside) == len(bad)
    assert {name: reason for name, reason in loose.items() if bad[name][1] not in reason} == {}


def test_an_interrupted_run_over_an_archive_goes_on_and_changed_members_are_scored_again(tmp_path):
    path = packed(tmp_path / "a.zip", {f"{n}.png": PNG for n in range(4)})
    detector = Told()

    def score(count: int | None) -> list[str]:
        folder = ScoreFolder(tmp_path / "out", detector, 0.05, list(find_inputs([path], Counter())), overlays=False)
        left = [str(one)[-5:] for one in folder.left]
        for frame in stream(detector, folder.left[:count]):
            folder.add(frame)
        if count is None:
            folder.finish(["csv"])
        return left

    assert len(score(3)) == 4
    changed = saved(Image.fromarray(255 - picture()), "PNG")
    packed(path, {f"{n}.png": changed if n == 1 else PNG for n in range(4)})
    assert score(None) == ["1.png", "2.png", "3.png"]
    table = read_table(tmp_path / "out" / "scores.csv")
    assert sorted(table["path"].str[-5:]) == ["0.png", "1.png", "2.png", "3.png"]
    assert isinstance(table, pd.DataFrame)


def test_what_is_no_archive_by_its_content_is_one_row(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no zip")
    (tmp_path / "b.rar").write_bytes(b"Rar!")
    found = list(find_inputs([tmp_path], Counter()))
    assert [type(one) for one in found] == [Refused, Refused]
    assert not any(isinstance(one, Member) for one in found)
    assert len(rows(*(one.path for one in found))) == 2


def test_what_an_archive_holds_beside_files_is_counted_and_doubled_names_are_told(tmp_path):
    first, second = PNG, saved(Image.fromarray(picture()[::-1].copy()), "PNG")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        item = tarfile.TarInfo("a.png")
        item.size = len(first)
        tar.addfile(item, io.BytesIO(first))
        for name, kind, target in (("l.png", tarfile.SYMTYPE, "/etc/passwd"), ("d.png", tarfile.CHRTYPE, "")):
            odd = tarfile.TarInfo(name)
            odd.type, odd.linkname = kind, target
            tar.addfile(odd)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as packed, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content in (first, second, second):
            packed.writestr("b.png", content)
    passed = Counter()
    found = {str(file.path.relative_to(tmp_path)): file for file in find_inputs([tmp_path], passed)}
    assert sorted(found) == ["a.tar!/a.png", "b.zip", "b.zip!/b.png"]
    assert passed == {"link to nothing": 1, "device or pipe": 1}
    assert found["b.zip"].reason == "1 names stand twice with other content, of which the last is read"
