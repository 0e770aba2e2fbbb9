"""One rule for the gray values of a series, and headers with their voxels, on the disk and in archives."""

import zipfile
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pipeline.data import checks
from pipeline.data.decode import read_frames
from pipeline.data.manifest import make_manifest
from pipeline.data.members import find_inputs, frames_of
from pipeline.data.raw import RawFolder
from pipeline.data.splits import ImagesConfig
from pipeline.detectors.folder.stream import file_sha256
from pipeline.tiles.cutting import source_key
from tests.unit.test_volumes import described
from tests.unit.volume_files import SIDE, SLICES, head, nifti, series

NO_WINDOW = {"WindowCenter": None, "WindowWidth": None}
Shown = dict[int, set[int]]


def outlier(seed: int) -> np.ndarray:
    drawn = head(seed, air=0)
    drawn[3, 10, 10] = 4095
    return drawn


def grays(volume: np.ndarray, shown: list[np.ndarray]) -> Shown:
    """Stored value → gray values that stand for it."""
    found: Shown = {}
    for value, gray in zip(volume.ravel(), np.stack(shown).ravel(), strict=True):
        found.setdefault(int(value), set()).add(int(gray))
    return found


def packed(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as file:
        for path in sorted(folder.rglob("*.*")):
            file.write(path, path.relative_to(folder))
    return target


def test_a_value_has_one_gray_in_all_slices_of_a_series_although_one_has_an_outlier(tmp_path: Path) -> None:
    volume = outlier(1)
    series(tmp_path / "all" / "one", volume, "P", "1.2.3", **NO_WINDOW)
    series(tmp_path / "all" / "two", 2 * head(2, air=0), "P", "1.2.4", **NO_WINDOW)
    for file in (tmp_path / "all" / "two").iterdir():
        file.rename(tmp_path / "all" / "one" / f"b{file.name}")
    of_folder = [frame for path in find_inputs([tmp_path / "all"], Counter()) for frame in frames_of(path)]
    archive = packed(tmp_path / "all" / "one", tmp_path / "a.zip")
    of_archive = [frame for path in find_inputs([archive], Counter()) for frame in frames_of(path)]
    for frames in (of_folder, of_archive):
        mine, other = frames[:SLICES], frames[SLICES:]
        found = grays(volume, [frame.usable for frame in mine])
        assert {len(each) for each in found.values()} == {1}
        assert (found[0], found[4095]) == ({0}, {255})
        assert max(found[500]) > 150  # the outlier is no white for the others
        assert len({frame.gray_values for frame in mine}) == len({frame.gray_values for frame in other}) == 1
        assert mine[0].gray_values.startswith("percentiles 0.5-99.5 of the series, 0 to ")
        assert other[0].gray_values != mine[0].gray_values
    alone = next(iter(read_frames(series(tmp_path / "alone", volume[:1], "P", "1.2.3", **NO_WINDOW) / "00.dcm")))
    assert alone.gray_values == f"values 0 to {volume[0].max()}"


def test_slices_have_another_key_where_a_file_beside_them_changes_their_grays(tmp_path: Path) -> None:
    for number in range(8):
        series(tmp_path / "ok" / f"{number}", head(number), f"P{number}", f"1.2.{number}", **NO_WINDOW)
    series(tmp_path / "ill" / "x", outlier(9), "Q", "1.3", **NO_WINDOW)
    own, keys = described(tmp_path), []
    for _ in range(2):
        images, *_ = make_manifest(RawFolder(own.link_folders()), own.row, ImagesConfig())
        rows = images.set_index("path").loc["abnormal/x/00.dcm"]
        keys.append((rows["sha256"], source_key(rows.to_dict())))
        series(tmp_path / "ill" / "x", np.minimum(outlier(9), 550), "Q", "1.3", **NO_WINDOW)
        series(tmp_path / "ill" / "x", outlier(9)[:1], "Q", "1.3", **NO_WINDOW)
        (tmp_path / "ill" / "x" / "05.dcm").unlink()
    assert keys[0][0] == keys[1][0]
    assert keys[0][1] != keys[1][1]


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Spm99AnalyzeImage, nibabel.AnalyzeImage])
@pytest.mark.parametrize("names", [("a.hdr", "a.img"), ("A.HDR", "A.IMG"), ("a.hdr", "A.img")])
def test_header_and_voxels_are_one_volume_wherever_they_lie(tmp_path: Path, kind: type, names: tuple[str, str]) -> None:
    volume = head(1, air=0)
    image = kind(np.transpose(volume, (2, 1, 0)).astype(np.int16), np.diag([-2.0, 2, 4, 1]))
    nibabel.save(image, tmp_path / "x.hdr")
    (tmp_path / "pair").mkdir()
    for suffix, name in zip((".hdr", ".img"), names, strict=True):
        (tmp_path / f"x{suffix}").rename(tmp_path / "pair" / name)
    (tmp_path / "nested").mkdir()
    packed(tmp_path / "pair", tmp_path / "nested" / "in.zip")
    wanted = [frame.usable for frame in read_frames(nifti(tmp_path / "same.nii", volume[:, :, ::-1]))]
    for place in (
        "pair",
        packed(tmp_path / "pair", tmp_path / "a.zip"),
        packed(tmp_path / "nested", tmp_path / "b.zip"),
    ):
        passed = Counter[str]()
        (file,) = find_inputs([tmp_path / place], passed)
        frames = list(frames_of(file))
        assert [frame.reason for frame in frames] == [""] * SLICES
        assert not passed
        assert all(np.array_equal(frame.usable, pixels) for frame, pixels in zip(frames, wanted, strict=True))


def test_pairs_in_own_data_are_known_by_their_voxels(tmp_path: Path) -> None:
    for number in range(8):
        image = nibabel.Nifti1Pair(np.transpose(head(number), (2, 1, 0)).astype(np.int16), np.diag([2.0, 2, 4, 1]))
        (tmp_path / "ok").mkdir(exist_ok=True)
        nibabel.save(image, tmp_path / "ok" / f"{number}.hdr")
    headers = {path.read_bytes() for path in (tmp_path / "ok").glob("*.hdr")}
    assert len(headers) == 1  # two volumes of one scanner may have equal headers
    nifti(tmp_path / "ill" / "x.nii", head(9, lesion=True))
    (tmp_path / "packed").mkdir()
    packed(tmp_path / "ok", tmp_path / "packed" / "ok.zip")
    made = []
    for normal in ("ok", "packed"):
        own = described(tmp_path, normal=str(tmp_path / normal))
        raw = RawFolder(own.link_folders())
        images, quarantine, _ = make_manifest(raw, own.row, ImagesConfig())
        assert images["volume"].nunique() == 9
        assert quarantine["reason"].str.startswith("empty slice").all()
        rows = images[images["label"] == 0]
        for file, some in rows.groupby("volume"):
            assert checks._check_file(raw, file, some.to_dict("records"), "images") == []
        made.append(set(rows["sha256"]))
    assert made[0] == made[1]
    before = file_sha256(tmp_path / "ok" / "0.hdr")
    (tmp_path / "ok" / "0.img").write_bytes(bytes(2 * SIDE * SIDE * SLICES))
    assert file_sha256(tmp_path / "ok" / "0.hdr") != before


def test_a_header_or_voxels_alone_are_named(tmp_path: Path) -> None:
    image = nibabel.Nifti1Pair(np.transpose(head(0), (2, 1, 0)).astype(np.int16), np.eye(4))
    nibabel.save(image, tmp_path / "a.hdr")
    (tmp_path / "a.img").rename(tmp_path / "b.img")
    reasons = [frame.reason for path in find_inputs([tmp_path], Counter()) for frame in frames_of(path)]
    assert "expected a header and its voxels, two files of one name, and got no .img" in reasons[0]
    assert "a header .hdr is missing beside it" in reasons[1]
