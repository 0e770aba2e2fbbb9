"""Files of unusual layouts, and what downloads leave under the name of an image."""

import io

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from pipeline.data.decode import decode_mask, read_frames
from tests.unit.volume_files import series

ROWS, COLS = np.mgrid[:96, :128]
RAMP = (40 + COLS + ROWS // 2).astype(np.uint8)
DEEP = np.dstack([RAMP, RAMP // 2, RAMP // 3]).astype(np.uint16) * 256
KINDS = {
    "chunky 16 bits": (DEEP, {"photometric": "rgb"}),
    "planar 16 bits": (np.moveaxis(DEEP, -1, 0).copy(), {"photometric": "rgb", "planarconfig": "separate"}),
    "gray": (RAMP, {}),
    "gray 16 bits": (RAMP.astype(np.uint16) * 256, {}),
    "float": ((RAMP / 255).astype(np.float32), {}),
    "double": (RAMP / 255, {}),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_is_turned_as_its_tag_says(tmp_path, kind, orientation):
    values, options = KINDS[kind]
    path, buffer = tmp_path / "a.tif", io.BytesIO()
    tifffile.imwrite(path, values, extratags=[(274, "H", 1, orientation, True)], **options)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(RAMP).save(buffer, "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
    (frame,) = read_frames(path)
    pixels = frame.usable if frame.usable.ndim == 2 else frame.usable[..., 0]
    assert pixels.shape == expected.shape
    assert np.corrcoef(pixels.ravel(), expected.ravel())[0, 1] > 0.999
    if "16 bits" in kind:
        assert np.abs(pixels.astype(int) - expected).max() <= 1
        assert frame.usable.ndim == 2 or frame.usable[..., 1].max() < 0.51 * pixels.max(), (
            "red, green, blue in this order"
        )


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_all_images_of_an_imagej_stack_with_one_page_are_read(tmp_path, kind):
    stack = np.stack([np.roll(RAMP, 9 * number, axis=1) for number in range(4)]).astype(kind)
    for name, truncated in (("one", True), ("all", False)):
        tifffile.imwrite(tmp_path / f"{name}.tif", stack, imagej=True, metadata={"axes": "ZYX"}, truncate=truncated)
    one, every = ([frame.usable for frame in read_frames(tmp_path / f"{name}.tif")] for name in ("one", "all"))
    assert len(one) == len(every) == 4
    for first, second in zip(one, every, strict=True):
        np.testing.assert_array_equal(first, second)
    whole = (tmp_path / "one.tif").read_bytes()
    (tmp_path / "one.tif").write_bytes(whole[: -stack[0].nbytes])
    (frame,) = read_frames(tmp_path / "one.tif")
    assert frame.pixels is None
    assert "ImageJ says 4 images" in frame.reason


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>404 Not Found</html>", "an HTML page instead of an image"),
        (b"<HTML><body>log in</body></HTML>", "an HTML page instead of an image"),
    ],
)
def test_what_a_download_left_instead_of_an_image_is_named(tmp_path, content, said):
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    (frame,) = read_frames(path)
    assert frame.pixels is None
    assert said in frame.reason


def test_a_volume_that_does_not_say_how_its_axes_lie_says_so_in_its_rows(tmp_path):
    values = np.random.default_rng(0).integers(0, 900, (40, 50, 6)).astype(np.int16)
    for name, affine in (("said", np.diag([1.0, 1.0, 3.0, 1.0])), ("silent", None)):
        nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / f"{name}.nii")
    nibabel.save(nibabel.AnalyzeImage(values, None), tmp_path / "analyze.img")
    told = {
        name: [f.gray_values for f in read_frames(tmp_path / name)]
        for name in ("said.nii", "silent.nii", "analyze.hdr")
    }
    assert [len(rows) for rows in told.values()] == [6, 6, 6]
    assert ["not stated" in rows[0] for rows in told.values()] == [False, True, True]


@pytest.mark.parametrize(("high", "shift", "junk"), [(11, 0, 0), (13, 2, 0), (15, 4, 0), (15, 4, 7)])
def test_dicom_values_may_lie_above_unused_bits(tmp_path, high, shift, junk):
    values = (RAMP.astype(np.uint16) * 12)[None]
    plain, moved = (
        series(tmp_path / str(number), stored, "P", "1.2.3", HighBit=top)
        for number, (stored, top) in enumerate([(values, 11), ((values << shift) | junk, high)])
    )
    (expected,), (found,) = read_frames(plain / "00.dcm"), read_frames(moved / "00.dcm")
    np.testing.assert_array_equal(found.usable, expected.usable)
    assert found.gray_values == expected.gray_values == "window 512/1024"


def test_negative_dicom_values_above_unused_bits_keep_their_sign(tmp_path):
    values = (RAMP.astype(np.int16) * 12 - 1500)[None]
    options = {"PixelRepresentation": 1, "WindowCenter": -500, "WindowWidth": 2000}
    plain = series(tmp_path / "plain", values, "P", "1.2.3", **options)
    moved = series(tmp_path / "moved", values << 4, "P", "1.2.3", HighBit=15, **options)
    (expected,), (found,) = read_frames(plain / "00.dcm"), read_frames(moved / "00.dcm")
    np.testing.assert_array_equal(found.usable, expected.usable)


@pytest.mark.parametrize("kind", ["planar 16 bits", "double", "ImageJ stack", "white is zero"])
def test_masks_of_unusual_layouts_mark_the_same_pixels(kind):
    expected = np.hypot(ROWS - 40, COLS - 70) < 17
    deep, buffer = expected.astype(np.uint16) * 65535, io.BytesIO()
    if kind == "planar 16 bits":
        tifffile.imwrite(buffer, np.stack([deep, deep * 0, deep * 0]), photometric="rgb", planarconfig="separate")
    elif kind == "double":
        tifffile.imwrite(buffer, expected.astype(float))
    elif kind == "ImageJ stack":
        halves = np.stack([expected & (COLS < 70), expected & (COLS >= 70)])
        tifffile.imwrite(buffer, halves.astype(np.uint8) * 255, imagej=True, metadata={"axes": "ZYX"}, truncate=True)
    else:
        tifffile.imwrite(buffer, ~expected, photometric="miniswhite")
    np.testing.assert_array_equal(decode_mask(buffer.getvalue(), expected.shape), expected)
