"""DICOM files and volumes of kinds that people reported: shown as a viewer shows them, or named with the reason."""

import gc

import numpy as np
import pytest
from scipy.special import expit

from pipeline.data.decode import read_frames
from tests.unit.problem_files import MARKS, MUTATED, VALID, files, likeness, problem, shown, the_picture

pytestmark = MARKS


@pytest.fixture(scope="module")
def picture():
    return the_picture()


@pytest.fixture
def collected():
    """nibabel leaves a file open where its header is damaged: it is closed while the warning about it is ignored."""
    yield
    gc.collect()


INVERTED = {"mono1_12", "mono1_8", "palette_inverted", "presentation_inverse", "voilut_inverting"}
WINDOWED = {
    "mono2_12_window": lambda v: (v * 16 - 2000) / 2000 + 0.5,
    "mono1_12_window": lambda v: 0.5 - (v * 16 - 2000) / 2000,
    "windows2": lambda v: (v * 16 - 2000) / 2000 + 0.5,
    "enhanced": lambda v: (v * 16 - 2000) / 2000 + 0.5,
    "sigmoid": lambda v: expit(4 * (v * 16 - 2000) / 2000),
    "ct_signed": lambda v: (v * 8 - 1000 - 24 - 40) / 400 + 0.5,
}


@pytest.mark.parametrize("name", files(VALID, "*.dcm"))
def test_a_valid_dicom_file_shows_the_picture(name, picture):
    path, stem = VALID / name, name.removesuffix(".dcm")
    if stem == "nopixels":
        (frame,) = read_frames(path)
        assert "no 'Pixel Data'" in frame.reason
        return
    pixels = shown(path)
    if stem == "bits1":
        assert set(np.unique(pixels)) == {0, 255}
        assert (pixels[8:30, 8:24] == 255).all()
    elif stem == "aspect":
        assert pixels.shape == (192, 80)
        assert likeness(pixels[::2], picture) > 0.99
    elif stem == "padding":
        imaged = pixels > 0
        assert 0.5 < imaged.mean() < 1
        assert likeness(pixels[imaged], picture[imaged]) > 0.99
    elif stem in WINDOWED:
        wanted = np.clip(WINDOWED[stem](picture), 0, 1) * 255
        assert np.abs(pixels - wanted).max() <= 1.5
    else:
        assert (-1 if stem in INVERTED else 1) * likeness(pixels, picture) > 0.99


NO_VOLUME = {
    "allinf.nii": "no finite voxel",
    "allnan.nii": "no finite voxel",
    "const.nii": "every voxel has the value 7",
    "empty.nii": "Empty file",
    "empty.nii.gz": "Empty file",
    "mgh.nii": "Dimensions",
}
COUNTS = {"2d.nii": 1, "thin.nii": 1}


@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("name", files(VALID, "*.nii*"))
def test_a_valid_volume_gives_the_same_view_or_one_reason(name):
    frames = list(read_frames(VALID / name))
    if name in NO_VOLUME:
        assert len(frames) == 1
        assert NO_VOLUME[name] in frames[0].reason
        return
    assert len(frames) == COUNTS.get(name, 6)
    for frame, reference in zip(frames, read_frames(VALID / "ras.nii"), strict=False):
        assert frame.pixels.shape[:2] == (56, 48)
        gray = frame.pixels[..., 0] if frame.pixels.ndim == 3 else frame.pixels
        limit = 0.5 if name in ("u8.nii", "rgb24.nii") else 0.99  # their values are cut at 255
        assert likeness(gray, reference.pixels) > limit
    assert ("orientation unknown" in frames[0].gray_values) == (name in ("zeroaffine.nii", "nanaffine.nii"))


@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("name", files(MUTATED, "*"))
def test_a_damaged_file_gives_rows_and_ends_nothing(name):
    frames = list(read_frames(MUTATED / name))
    assert frames
    assert all(frame.reason or frame.pixels is not None for frame in frames)


GRAY = {
    "m_empty_window.dcm": (0, 56.92, 255),
    "m_width0.dcm": (0, 56.92, 255),
    "n_center_alone.dcm": (0, 56.92, 255),
    "s_nan_window.dcm": (0, 56.92, 255),
    "o_width_below_1.dcm": (0, 55.9, 255),
    "q_empty_voi_function.dcm": (15, 68.82, 255),
    "p_six_bits.dcm": (16, 68.65, 255),
    "m_no_preamble.dcm": (15, 68.82, 255),
    "IM000001": (15, 68.82, 255),
    "m_palette_grey.dcm": (15, 68.82, 255),
    "m_lut12.dcm": (0, 30.13, 255),
    "m_parametric_map.dcm": (0, 56.94, 255),
}


@pytest.mark.parametrize("name", GRAY)
def test_gray_values_of_a_dicom_file(name):
    pixels = shown(problem(name))
    assert pixels.shape == (192, 256)
    assert (pixels.min(), pixels.max()) == GRAY[name][::2]
    assert pixels.mean() == pytest.approx(GRAY[name][1], abs=0.05)
    assert pixels[20, 30] == pixels.max()


@pytest.mark.parametrize("name", ["m_palette.dcm", "m_palette_window.dcm"])
def test_a_palette_gives_colours(name):
    pixels = shown(problem(name))
    assert pixels.mean((0, 1)) == pytest.approx([125.52, 120.85, 125.60], abs=0.01)
    assert pixels[24, 33].tolist() == [139, 233, 118]
    assert pixels[0, 0].tolist() == [241, 122, 22]


def test_functional_groups_are_followed_frame_by_frame():
    frames = [frame.pixels for frame in read_frames(problem("m_enhanced.dcm"))]
    assert [pixels.max() for pixels in frames] == [60, 120, 240]
    assert [pixels.mean() for pixels in frames] == pytest.approx([17.19, 34.40, 68.79], abs=0.01)


@pytest.mark.parametrize("name", ["m_crc", "m_middle", "m_middle_ff"])
def test_a_damaged_packed_volume_is_one_reason(name):
    (frame,) = read_frames(problem(f"{name}.nii.gz"))
    assert "damaged" in frame.reason
    assert "checksum" in frame.reason


def test_volumes_of_colours_unknown_orientation_and_four_axes():
    colours = shown(problem("m_rgb.nii.gz"))
    assert colours.mean((0, 1)) == pytest.approx([72.85, 36.30, 182.15], abs=0.01)
    (first, *_) = read_frames(problem("m_zero_sform.nii"))
    assert first.pixels.mean() == pytest.approx(72.85, abs=0.01)
    assert "orientation unknown" in first.gray_values
    contrasts = list(read_frames(problem("m_four_contrasts.nii.gz")))
    assert [frame.gray_values for frame in contrasts] == ["percentiles 0.5-99.5; volume 1 of 4"] * 3
    np.testing.assert_array_equal(shown(problem("m_two_axes.nii.gz")), contrasts[0].pixels)


@pytest.mark.parametrize(
    ("name", "shape", "brightest"),
    [
        ("n_spacing_1_1.nii.gz", (192, 160), (48, 107)),
        ("m_spacing_1_2.nii.gz", (192, 160), (48, 107)),
        ("n_spacing_3_1.dcm", (96, 96), None),
    ],
)
def test_pixels_become_square(name, shape, brightest):
    pixels = shown(problem(name))
    assert pixels.shape == shape
    if brightest:
        assert np.unravel_index(pixels.argmax(), shape) == pytest.approx(brightest, abs=3)


def test_thick_and_empty_slices_are_told_apart():
    (frame,) = read_frames(problem("m_sagittal5.nii.gz"))
    assert "slices lie sagittally, 6 mm apart: no axial picture" in frame.reason
    shapes = {frame.pixels.shape for frame in read_frames(problem("n_sagittal40.nii.gz")) if frame.pixels is not None}
    assert shapes == {(96, 160)}
    kinds = [frame.kind for frame in read_frames(problem("m_empty_ends.nii.gz")) if frame.pixels is None]
    assert kinds == ["empty slice"] * 6
