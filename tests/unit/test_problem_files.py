"""Images, masks and folders of kinds that people reported: read as they are meant, or named with the reason."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.data.decode import decode_image, decode_mask, read_frames
from pipeline.data.raw import RawFolder
from pipeline.data.walk import find_files
from pipeline.errors import UnusableImage
from tests.unit.problem_files import MARKS, ODD, PROBLEMS, files, likeness, problem, shown, the_picture

pytestmark = MARKS


@pytest.fixture(scope="module")
def picture():
    return the_picture()


DAMAGED = r"bmp_cut|jpeg_(cut50|noeoi|zerotail50)$|png_(cut|idat|zero)|prog_\w+\d$|tif_(raw_cut|lzw)"
DAMAGED += r"|\w+_eoi$|eps|grib|hdf5|html|pdf|svg|wmf"
OTHERS = r"mask_|bmp_1bit|x[bp]m|png_noiend|tif_raw_zerotail"  # other pictures, and cuts that leave no trace
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


def test_depth_does_not_hang_on_one_pixel():
    plain, hot, less, more = (
        shown(problem(f"{name}.png")).astype(int) for name in ("m_plain12", "n_hotpixel", "p_max2047", "p_max2049")
    )
    assert plain.mean() == pytest.approx(60.26, abs=0.01)
    assert (np.abs(plain - hot) > 1).sum() == 1
    assert np.abs(less - more).max() <= 1


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


class Told:
    """A detector as far as a folder of scores uses it; every image is normal."""

    dataset, data_version, name = "oct", "0123456789abcdef", "committee"
    score, false_alarm_rate, false_alarm_rate_high, in_domain, distance, maps = 1.0, 0.5, 0.6, True, 0.7, {}
    volumes, facts, looked_at, pixels = None, {"preset": "quick"}, 1.0, np.zeros((1, 1), np.uint8)

    @property
    def images(self):
        return self

    def usable_rate(self, rate):
        return rate or 0.05

    def cut(self, pixels):
        return ()

    def score_tiles(self, images):
        return [self] * len(images)

    def regions(self, rate):
        return ()

    def decision(self, rate):
        return "normal"


@pytest.mark.parametrize(
    ("folder", "decisions", "code"),
    [
        ("43-empty-end-slices", {"normal": 4, "empty slice": 6}, 0),
        ("25-no-image-dicom", {"no image": 7}, 0),
        ("04-damaged-nii-gz", {"unusable": 3}, 1),
        ("44-window-odd", {"normal": 6}, 0),
        ("40-nifti-4d", {"normal": 4}, 0),
    ],
)
def test_a_folder_of_them_is_scored_and_counted(folder, decisions, code, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.commands.score.load_detector", lambda *_, **__: Told())
    call = ["score", str(PROBLEMS / folder), "--dataset", "oct", "--out", str(tmp_path), "--no-overlays"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == code, result.output
    table = pd.read_csv(tmp_path / "scores.csv").dropna(subset="frame")  # without rows of volumes
    assert table["decision"].value_counts().to_dict() == decisions
    assert table["gray_values"][table["decision"] == "normal"].notna().all() or folder.startswith("44")
    assert ("volume 1 of 4" in result.output) == folder.startswith("40")
    assert "nothing was imaged" not in result.output
