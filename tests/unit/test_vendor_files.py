"""Formats of makers of OCT devices: Heidelberg's .vol is read, the others are named with the way out."""

import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.decode import read_frames
from pipeline.data.members import find_inputs

SHAPE = (3, 40, 50)
NO_DATA = np.finfo(np.float32).max


def vol(values: np.ndarray, patient: bytes = b"P-7", before: int = 300, slo: tuple[int, int] = (8, 6)) -> bytes:
    """A file of B-scans (N, H, W) in the maker's layout."""
    count, height, width = values.shape
    head = struct.pack("<12s3I3d2I2dId4sQ2I16s16sI21s", b"HSF-OCT-103", width, count, height, 0.011, 0.06, 0.0039,
                       *slo, 0.01, 0.01, 30, 0.5, b"OD", 0, 3, before, b"2390", b"", 1, patient)  # fmt: skip
    scans = (bytes(before) + scan.astype("<f4").tobytes() for scan in values)
    return head.ljust(2048, b"\0") + bytes(slo[0] * slo[1]) + b"".join(scans)


def test_a_vol_file_shows_its_scans_by_their_logarithm(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(SHAPE).astype(np.float32) ** 4
    values[1, :5] = NO_DATA
    values[2, 0, 0], values[2, 0, 1] = 0, 1
    (tmp_path / "a.vol").write_bytes(vol(values))
    frames = list(read_frames(tmp_path / "a.vol"))
    assert [frame.reason for frame in frames] == [""] * 3
    wanted = np.clip((np.log(np.where(values > 1, 0, values) + 2.44e-4) + 8.3) / 8.285, 0, 1) * 255
    for frame, scan in zip(frames, wanted, strict=True):
        assert np.abs(frame.usable - scan).max() <= 0.51
    assert (frames[1].usable[:5] == 0).all()
    assert (frames[2].usable[0, 0], frames[2].usable[0, 1]) == (0, 255)
    assert (frames[0].origin.pixel, frames[0].origin.spacing) == (0.0039, 0.06)
    (tmp_path / "b.vol").write_bytes(vol(values, b"Anonymous"))
    subjects = {next(iter(read_frames(tmp_path / name))).origin.subject for name in ("a.vol", "b.vol")}
    assert len(subjects) == 2
    assert "" in subjects


def test_a_cut_vol_file_is_one_reason(tmp_path: Path) -> None:
    (tmp_path / "a.vol").write_bytes(vol(np.zeros(SHAPE))[:-1])
    (frame,) = read_frames(tmp_path / "a.vol")
    assert frame.reason.startswith("the file is cut: expected 26996 bytes, got 26995")
    (tmp_path / "a.vol").write_bytes(b"HSF-OCT-103")
    (frame,) = read_frames(tmp_path / "a.vol")
    assert frame.pixels is None


@pytest.mark.parametrize(
    ("name", "content", "maker"),
    [
        ("a.e2e", b"CMDb" + bytes(500), "Heidelberg"),
        ("A.E2E", b"MDbDir" + bytes(500), "Heidelberg"),
        ("a.vol", bytes(500), "Heidelberg"),
        ("a.fds", b"FOCT" + bytes(500), "Topcon"),
        ("a.fda", b"\1\2\3" * 200, "Topcon"),
        ("a.oct", b"OCT" * 200, "Bioptigen"),
        ("a.img", bytes(4000), "Zeiss"),
        ("IM0001.img", np.random.default_rng(0).bytes(4000), "Zeiss"),
    ],
)
def test_other_formats_are_found_and_named_with_the_way_out(tmp_path, name, content, maker) -> None:
    (tmp_path / name).write_bytes(content)
    assert [str(path) for path in find_inputs([tmp_path], Counter())] == [str(tmp_path / name)]
    (frame,) = read_frames(tmp_path / name)
    assert maker in frame.reason
    assert "export the scans as DICOM or TIFF" in frame.reason
