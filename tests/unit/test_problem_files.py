"""Files of kinds that people reported with tools of this field: read as a viewer shows them, or named with the reason.

The files and their right values lie outside the repository (``PROXYANO_PROBLEMS``); without them these tests skip.
"""

import gc
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import expit

from pipeline.data.decode import decode_image, decode_mask, find_files, read_frames
from pipeline.data.raw import RawFolder
from pipeline.errors import UnusableImage

PROBLEMS = Path(os.environ.get("PROXYANO_PROBLEMS", Path(__file__).resolve().parents[3] / "shared" / "problems"))
pytestmark = [
    pytest.mark.skipif(not PROBLEMS.is_dir(), reason=f"no problem files at {PROBLEMS}: set PROXYANO_PROBLEMS"),
    pytest.mark.filterwarnings("ignore"),  # damaged files warn before they are refused
]
VALID, ODD, MUTATED = (PROBLEMS / name for name in ("valid_medical", "odd_images", "mutated_medical"))


@pytest.fixture
def collected():
    """nibabel leaves a file open where its header is damaged: it is closed while the warning about it is ignored."""
    yield
    gc.collect()


def files(folder, pattern):
    """Names to parametrize over, and one that is skipped where the folder is absent."""
    return sorted(path.name for path in folder.glob(pattern)) or ["absent"]


def problem(name):
    (path,) = PROBLEMS.glob(f"*/{name}")
    return path


@pytest.fixture(scope="module")
def picture():
    return np.load(VALID / "picture.npz")["picture"]


def shown(path, number=0):
    frames = list(read_frames(path))
    assert frames[number].pixels is not None, frames[number].reason
    return frames[number].pixels


def likeness(pixels, picture):
    gray = pixels[..., 0] if pixels.ndim == 3 else pixels
    return np.corrcoef(gray.ravel(), picture.ravel())[0, 1]


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


DAMAGED = r"bmp_cut|jpeg_(cut50|noeoi|zerotail50)$|png_(cut|idat|zero)|prog_\w+\d$|tif_(raw_cut|lzw)"
DAMAGED += "|eps|grib|hdf5|html|pdf|svg|wmf"
OTHERS = r"mask_|bmp_1bit|x[bp]m|\w+_eoi$|png_noiend|tif_raw_zerotail"  # other pictures, and cuts that leave no trace
ODD_NAMES = [name.removesuffix(".bin") for name in files(ODD, "*")]
SAME = [name for name in ODD_NAMES if not re.match(f"{DAMAGED}|{OTHERS}", name)]
TURNED = {"jpeg_exif6": -1, "png_exif6": -1, "webp_exif6": -1, "tiff_orient3": 2, "tiff_orient6": -1}


@pytest.mark.parametrize("name", SAME)
def test_an_odd_image_shows_the_picture_upright(name, picture):
    pixels = shown(ODD / f"{name}.bin")
    wanted = np.rot90(picture, TURNED.get(name, 0)) if name != "tiff_orient6" else picture
    wanted = wanted if pixels.shape[:2] == wanted.shape else np.rot90(picture, -1)
    assert likeness(pixels, wanted) > 0.985


@pytest.mark.parametrize("name", [name for name in ODD_NAMES if re.match(DAMAGED, name)])
def test_what_is_damaged_or_no_image_says_so(name):
    (frame,) = read_frames(ODD / f"{name}.bin")
    assert frame.pixels is None
    assert frame.kind == "unusable"
    with pytest.raises(UnusableImage):
        decode_image((ODD / f"{name}.bin").read_bytes())


REFUSED = {
    "mask_inverted255.bin": "black and white are exchanged",
    "mask_png_cut.bin": "truncated",
    "mask_tif_lzw_zerotail.bin": "not a known image format",
    "mask_transposed.bin": "like its image, got 96×80",
}
SHARES = {"mask_empty.bin": 0.0, "mask_tif_raw_zerotail.bin": 480 / 7680}  # zeros of an uncompressed file tell nothing


@pytest.mark.parametrize("name", files(ODD, "mask_*"))
def test_a_mask_marks_what_it_shows(name):
    data = (ODD / name).read_bytes()
    if name in REFUSED:
        with pytest.raises(UnusableImage, match=REFUSED[name]):
            decode_mask(data, (96, 80))
        return
    percent = name.rpartition("_")[2].removesuffix("%.bin")
    wanted = SHARES.get(name, int(percent) / 100 if percent.isdigit() and "%" in name else 900 / 7680)
    assert decode_mask(data, (96, 80)).mean() == pytest.approx(wanted, abs=0.005)


@pytest.mark.parametrize(("pattern", "marked"), [("own/masks", {305}), ("soft_masks", {230, 231, 232})])
def test_soft_masks_are_cut_at_half(pattern, marked):
    for path in sorted((PROBLEMS / "21-mask-as-jpeg" / pattern).iterdir()):
        shape = Image.open(path).size[::-1]
        assert int(decode_mask(path.read_bytes(), shape).sum()) in marked


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


def test_depth_does_not_hang_on_one_pixel():
    plain, hot, less, more = (
        shown(problem(f"{name}.png")).astype(int) for name in ("m_plain12", "n_hotpixel", "p_max2047", "p_max2049")
    )
    assert plain.mean() == pytest.approx(60.26, abs=0.01)
    assert (np.abs(plain - hot) > 1).sum() == 1
    assert np.abs(less - more).max() <= 1


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


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("DICOMDIR.dcm", "directory"),
        ("m_dose.dcm", "dose"),
        ("m_report.dcm", "structured report"),
        ("m_seg.dcm", "segmentation"),
        ("n_presentation.dcm", "presentation state"),
        ("o_pdf.dcm", "encapsulated document"),
        ("p_rtstruct.dcm", "structures"),
    ],
)
def test_dicom_without_a_picture_is_no_unusable_image(name, what):
    (frame,) = read_frames(problem(name))
    assert frame.kind == "no image"
    assert frame.reason.startswith("no image: ")
    assert what in frame.reason


def test_exif_turns_image_and_leaves_an_upright_mask():
    pixels = shown(problem("m_orientation6.jpg"))
    assert pixels.shape == (300, 200, 3)
    assert pixels.mean((0, 1)) == pytest.approx([68.8, 32.4, 16.2], abs=0.3)
    own = PROBLEMS / "20-exif-orientation" / "own"
    for path in sorted((own / "ill").iterdir()):
        pixels = decode_image(path.read_bytes())
        mask = decode_mask((own / "masks" / f"{path.stem}.png").read_bytes(), pixels.shape[:2])
        assert (pixels if pixels.ndim == 2 else pixels.mean(-1))[mask].mean() > 245


def test_a_stack_in_own_data_names_its_pages():
    data = (PROBLEMS / "22-stack-tiff-own-data" / "own" / "normal" / "P0.tif").read_bytes()
    with pytest.raises(UnusableImage, match="holds 2 pages"):
        decode_image(data)


def test_dicom_without_a_suffix_is_found_and_thumbnails_are_not():
    assert len([path for path in find_files([PROBLEMS / "11-no-suffix-dicom"]) if path.suffix != ".md"]) == 4
    own = PROBLEMS / "23-nas-thumbnails" / "own"
    assert len(list(find_files([own / "normal"]))) == 14
    assert len(RawFolder(own / "normal").paths()) == 14
