import io

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from pipeline.data.decode import decode_image, read_frames
from pipeline.data.walk import find_files

RAMP = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48)


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (64, 48), dtype=np.uint8)


def encoded(pixels, kind):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.bmp", "BMP"), ("a.tif", "TIFF"), ("odd", "PNG")])
def test_a_picture_has_the_pixels_that_training_sees(tmp_path, name, kind):
    data = encoded(picture(), kind)
    (tmp_path / name).write_bytes(data)
    (frame,) = read_frames(tmp_path / name)
    assert frame.reason == ""
    np.testing.assert_array_equal(frame.pixels, decode_image(data))


def test_every_page_of_a_tiff_comes_and_a_blank_one_with_its_reason(tmp_path):
    pages = [Image.fromarray(page) for page in (picture(1), np.zeros((64, 48), np.uint8), picture(2))]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    frames = list(read_frames(tmp_path / "a.tiff"))
    assert [frame.number for frame in frames] == [0, 1, 2]
    np.testing.assert_array_equal(frames[2].pixels, picture(2))
    assert frames[1].pixels is None
    assert "nothing was imaged" in frames[1].reason


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_truncated_tiff_gives_the_pages_before_the_cut(tmp_path):
    pages = [Image.fromarray(picture(seed)) for seed in range(3)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    data = (tmp_path / "a.tiff").read_bytes()
    (tmp_path / "a.tiff").write_bytes(data[: len(data) * 3 // 5])
    frames = list(read_frames(tmp_path / "a.tiff"))
    np.testing.assert_array_equal(frames[0].pixels, picture(0))
    assert all("cannot be decoded" in frame.reason for frame in frames[1:])


def dicom(path, pixels, **fields):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    bits = 8 * pixels.dtype.itemsize
    header.Rows, header.Columns = pixels.shape[-2:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = bits
    header.HighBit, header.PixelRepresentation, header.PixelData = bits - 1, 0, pixels.tobytes()
    if pixels.ndim == 3:
        header.NumberOfFrames = len(pixels)
    for name, value in fields.items():
        setattr(header, name, value)
    pydicom.dcmwrite(path, header)
    return path


def test_a_dicom_file_is_windowed_as_it_says(tmp_path):
    path = dicom(tmp_path / "a.dcm", RAMP, WindowCenter=1000, WindowWidth=500, RescaleSlope=1, RescaleIntercept=0)
    (frame,) = read_frames(path)
    assert (frame.pixels.ravel()[:740] == 0).all()
    assert (frame.pixels.ravel()[1260:] == 255).all()
    assert frame.pixels.ravel()[1000] == pytest.approx(128, abs=2)


def test_a_rescaled_window_is_in_rescaled_units(tmp_path):
    path = dicom(tmp_path / "a.dcm", RAMP, WindowCenter=40, WindowWidth=400, RescaleSlope=1, RescaleIntercept=-1024)
    (frame,) = read_frames(path)
    assert frame.pixels.ravel()[1064] == pytest.approx(128, abs=2)
    assert frame.pixels.ravel()[700] == 0


def test_monochrome1_is_turned_so_that_more_is_brighter(tmp_path):
    one = next(read_frames(dicom(tmp_path / "1.dcm", RAMP, PhotometricInterpretation="MONOCHROME1")))
    two = next(read_frames(dicom(tmp_path / "2.dcm", RAMP)))
    np.testing.assert_array_equal(one.pixels, 255 - two.pixels)


def test_eight_bits_without_a_window_stay_as_they_are(tmp_path):
    dim = picture() // 4
    (frame,) = read_frames(dicom(tmp_path / "a.dcm", dim))
    np.testing.assert_array_equal(frame.pixels, dim)


def test_a_multi_frame_dicom_gives_its_frames(tmp_path):
    frames = list(read_frames(dicom(tmp_path / "a.dcm", np.stack([picture(1), picture(2)]))))
    assert [frame.number for frame in frames] == [0, 1]
    np.testing.assert_array_equal(frames[1].pixels, picture(2))


def test_a_nifti_volume_comes_slice_by_slice_front_up_and_left_right(tmp_path):
    volume = np.random.default_rng(0).uniform(10, 20, (40, 50, 3)).astype(np.float32)
    volume[35, 45, 1] = 500.0  # right, front, middle slice in RAS
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    frames = list(read_frames(tmp_path / "a.nii.gz"))
    assert [frame.pixels.shape for frame in frames] == [(50, 40)] * 3
    assert frames[1].pixels[4, 4] == 255  # front is up, the patient's right on the reader's left
    assert frames[1].pixels[45, 35] < 255
    assert frames[0].pixels[4, 4] < 255


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.png", b"", "empty"),
        ("cut.png", encoded(picture(), "PNG")[:400], "cannot be decoded"),
        ("text.jpg", b"not an image at all", "cannot be decoded, 19 bytes: not a known image format"),
        ("bad.dcm", b"\0" * 128 + b"DICM" + b"\1" * 64, "no usable DICOM image"),
        ("bad.nii.gz", b"\x1f\x8b no volume", "no readable NIfTI volume"),
        ("icon.png", encoded(picture()[:16, :16], "PNG"), "at least 32 px"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    (frame,) = read_frames(tmp_path / name)
    assert frame.pixels is None
    assert words in frame.reason


def test_folders_are_searched_in_order_and_hidden_files_passed_over(tmp_path):
    for name in ("b/2.png", "b/1.JPG", "a.dcm", "notes.txt", ".hidden/3.png", "b/.4.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    found = [path.relative_to(tmp_path).as_posix() for path in find_files([tmp_path, tmp_path / "notes.txt"])]
    assert found == ["a.dcm", "b/1.JPG", "b/2.png", "notes.txt"]
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        list(find_files([tmp_path / "gone"]))
