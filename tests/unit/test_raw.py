"""Files, archives and pixels of a download: what is damaged says so, what is odd is read right."""

import io
import os
import tarfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.decode import decode_image, decode_mask
from pipeline.data.raw import RawFolder, fingerprint
from pipeline.errors import DatasetUnusable, UnusableImage


def encoded(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def gray() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)


def test_open_and_packed_files_read_the_same(tmp_path: Path, gray: np.ndarray) -> None:
    data = encoded(gray)
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "image(1).png").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("in/image(1).png", data)
        archive.writestr("__MACOSX/in/._image(1).png", b"junk")
        archive.writestr("../evil.png", data)
    with tarfile.open(tmp_path / "y.tar.gz", "w:gz") as tar:
        item = tarfile.TarInfo("./in/image(1).png")
        item.size = len(data)
        tar.addfile(item, io.BytesIO(data))
    for cache in (None, tmp_path / ".cache"):
        raw = RawFolder(tmp_path, cache)
        places = ["a b/image(1).png", "x.zip!/in/image(1).png", "y.tar.gz!/in/image(1).png"]
        assert raw.paths() == places
        assert all(raw.read(path) == data for path in places)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            assert pool.submit(raw.read, places[2]).result() == data
    assert not (tmp_path.parent / "evil.png").exists()


def test_only_listed_files_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(UnusableImage, match="no such file"):
        RawFolder(tmp_path).read("../secret.png")


def test_a_broken_archive_is_named_and_the_rest_is_read(tmp_path: Path, gray: np.ndarray) -> None:
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 no archive")
    (tmp_path / "cut.tar.gz").write_bytes(b"\x1f\x8b cut")
    (tmp_path / "a.png").write_bytes(encoded(gray))
    raw = RawFolder(tmp_path)
    assert raw.paths() == ["a.png"]
    assert sorted(raw.broken) == ["cut.tar.gz", "cut.zip"]
    assert "cannot be opened" in raw.broken["cut.zip"]


def test_a_missing_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnusable, match="nowhere"):
        RawFolder(tmp_path / "nowhere")


def test_fingerprint_changes_exactly_with_contents(tmp_path: Path) -> None:
    cache, folder = tmp_path / "cache", tmp_path / "raw"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"one")
    (folder / "b.csv").write_bytes(b"two")
    first = fingerprint(RawFolder(folder), cache)
    assert fingerprint(RawFolder(folder)) == first
    os.utime(folder / "a.png", (1_000_000, 1_000_000))
    assert fingerprint(RawFolder(folder), cache) == first
    (folder / "README.md").write_text("not data")
    assert fingerprint(RawFolder(folder), cache) == first
    (folder / "a.png").write_bytes(b"uno")  # same size
    os.utime(folder / "a.png", (1_000_000, 1_000_000))
    second = fingerprint(RawFolder(folder), cache)
    assert second != first
    (folder / "a.png").rename(folder / "c.png")
    assert fingerprint(RawFolder(folder), cache) not in (first, second)


def test_fingerprint_does_not_read_settled_files_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.png").write_bytes(b"one")
    later = time.time() + 10
    monkeypatch.setattr("pipeline.data.raw.time.time", lambda: later)
    first = fingerprint(RawFolder(tmp_path / "raw"), tmp_path / "cache")
    monkeypatch.setattr("pipeline.data.raw.hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert fingerprint(RawFolder(tmp_path / "raw"), tmp_path / "cache") == first


def test_every_kind_of_file_becomes_eight_bits(gray: np.ndarray) -> None:
    colour = np.stack([gray, 255 - gray, gray], axis=-1)
    opaque = np.dstack([colour, np.full_like(gray, 255)])
    deep = gray.astype(np.uint16) * 16
    assert np.array_equal(decode_image(encoded(gray)), gray)
    assert np.array_equal(decode_image(encoded(np.dstack([gray] * 3))), gray)
    assert np.array_equal(decode_image(encoded(colour)), colour)
    assert np.array_equal(decode_image(encoded(opaque)), colour)
    assert np.array_equal(decode_image(encoded(deep)), gray)
    assert decode_image(encoded(colour, mode="P")).shape == colour.shape
    assert decode_image(encoded(gray, mode="1")).max() == 255
    assert decode_image(encoded(colour, "JPEG", mode="CMYK")).shape == colour.shape


@pytest.mark.parametrize(
    ("shape", "reason"), [((20, 60), "at least 32 px, got 60×20"), ((32, 300), "aspect of at most 8")]
)
def test_absurd_sizes_are_refused(shape: tuple[int, int], reason: str) -> None:
    pixels = np.arange(shape[0] * shape[1]).reshape(shape).astype(np.uint8)
    with pytest.raises(UnusableImage, match=reason):
        decode_image(encoded(pixels))


def test_constant_and_huge_images_are_refused() -> None:
    with pytest.raises(UnusableImage, match="every pixel has the value 7"):
        decode_image(encoded(np.full((40, 40), 7, np.uint8)))
    buffer = io.BytesIO()
    Image.new("1", (10_000, 9_500)).save(buffer, "PNG")
    with pytest.raises(UnusableImage, match="at most 80 megapixels, got 10000×9500"):
        decode_image(buffer.getvalue())


def test_a_truncated_jpeg_is_refused(tmp_path: Path, gray: np.ndarray) -> None:
    data = encoded(gray, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(UnusableImage, match="truncated"):
        decode_image(RawFolder(tmp_path).read("cut.jpg"))


def test_a_zero_byte_tiff_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mask.tif").write_bytes(b"")
    with pytest.raises(UnusableImage, match="0 bytes"):
        decode_mask(RawFolder(tmp_path).read("mask.tif"), (40, 60))


@pytest.mark.parametrize("kind", ["palette", "gray", "rgba", "rgb", "transparent", "bilevel"])
def test_masks_of_every_kind_mark_the_same(kind: str) -> None:
    truth = np.zeros((40, 60), bool)
    truth[5:9, 10:30] = True
    ones, plane = truth.astype(np.uint8), np.full(truth.shape, 255, np.uint8)
    red = np.stack([ones * 255, ones * 0, ones * 0], axis=-1)
    palette = Image.fromarray(ones).convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    image = {
        "palette": palette,
        "gray": Image.fromarray(ones),
        "rgb": Image.fromarray(red),
        "rgba": Image.fromarray(np.dstack([red, plane])),
        "transparent": Image.fromarray(np.dstack([plane, plane, plane, ones * 255])),
        "bilevel": Image.fromarray(ones * 255).convert("1"),
    }[kind]
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    assert np.array_equal(decode_mask(buffer.getvalue(), (40, 60)), truth)


def test_a_mask_of_another_size_names_both_sizes(gray: np.ndarray) -> None:
    with pytest.raises(UnusableImage, match="mask of 61×40 px like its image, got 60×40"):
        decode_mask(encoded(gray), (40, 61))


def test_a_mask_that_marks_all_is_refused() -> None:
    with pytest.raises(UnusableImage, match="marks 100% of the image"):
        decode_mask(encoded(np.ones((40, 60), np.uint8)), (40, 60))
