"""Files of every kind that cannot be scored, made in code: name → content and the reason that is expected."""

import gzip
import io
import zipfile

import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate

from benchmarks.fuzz_seeds import colours, dicom, nifti, picture, saved, stacks
from benchmarks.fuzz_targets import with_checksums

JPEG_END = b"\xff\xd9"


def half(jpeg: bytes, *, filled: bytes = b"") -> bytes:
    """A JPEG whose data end in the middle, or are ``filled`` from there on, before a proper end mark."""
    middle = len(jpeg) * 2 // 3
    return jpeg[:middle].rstrip(b"\xff") + filled * (len(jpeg) - middle) + JPEG_END


def large() -> Image.Image:
    """The picture, four times as large: its JPEG has data enough to be cut."""
    return Image.fromarray(colours()).resize((256, 192))


def bad_files() -> dict[str, tuple[bytes, str]]:
    """One file of each kind."""
    gray, rgb = Image.fromarray(picture()), large()
    png, jpeg = saved(gray, "PNG"), saved(rgb, "JPEG")
    progressive = saved(rgb, "JPEG", progressive=True)
    scans = [place for place in range(len(progressive)) if progressive[place : place + 2] == b"\xff\xda"]
    wrong = bytearray(png)
    wrong[-14] ^= 1
    giant = bytearray(png)
    giant[16:24] = (10000).to_bytes(4, "big") * 2
    flat = Image.fromarray(np.where(np.add.outer(np.arange(192), np.arange(256)) // 40 % 2, 200, 60).astype(np.uint8))
    medical, volumes, pages = dicom(), nifti(), stacks()
    volume = volumes["f32-Nifti1Image.nii"]
    return {
        "empty.png": (b"", "the file is empty"),
        "text.jpg": (b"<html><body>404 not found</body></html>", "an HTML page"),
        "cut.png": (png[: len(png) // 2], "truncated"),
        "checksum.png": (bytes(wrong), "the PNG is damaged"),
        "giant.png": (with_checksums(bytes(giant)), "expected at most 80 megapixels"),
        "tiny.png": (saved(gray.resize((20, 20)), "PNG"), "sides of at least 32 px"),
        "long.png": (saved(gray.resize((640, 33)), "PNG"), "an aspect of at most 8"),
        "blank.png": (saved(Image.new("L", (64, 64), 7), "PNG"), "nothing was imaged"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "gray.jpg": (half(jpeg), "the JPEG is cut: its data end before its picture"),
        "restart.jpg": (half(saved(rgb, "JPEG", restart_marker_blocks=4)), "the JPEG is cut: its data"),
        "zeros.jpg": (half(saved(flat, "JPEG", optimize=True), filled=b"\0"), "the JPEG is damaged: zeros stand"),
        "progressive.jpg": (progressive[: scans[2] + 60] + JPEG_END, "the JPEG is cut"),
        "scans.jpg": (progressive[: scans[-1]] + JPEG_END, "the JPEG is cut: parts of its picture are missing"),
        "cut.tif": (pages["raw.tif"][:3000], "cannot be decoded"),
        "cut.dcm": (medical["12.dcm"][:-3000], "no usable DICOM image"),
        "gray.dcm": (
            _coded(medical["JPEG_Base.dcm"], half(saved(rgb.convert("L"), "JPEG"))),
            "the JPEG is cut: its data",
        ),
        "box.dcm": (_without_length(medical["JPEG_2000.dcm"], b"ftyp"), "a box of 0 bytes"),  # pydicom never ended
        "empty.nii.gz": (gzip.compress(b""), "ImageFileError: Empty file: 'the file'"),
        "cut.nii": (volume[: len(volume) // 2], "no readable NIfTI volume"),
        "cut.nii.gz": (gzip.compress(volume)[:-200], "the packed file is damaged"),
        "nan.nii": (_volume(np.full((40, 40, 3), np.nan)), "no finite voxel or pixel"),
        "side.nii": (_volume(np.random.default_rng(0).normal(size=(40, 3, 40))), "axial slices of at least 32 px"),
        "cut.zip": (_zip(png)[:-30], "the archive cannot be opened"),
        "foreign.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(40), "not read: unpack it"),
    }


def _coded(content: bytes, jpeg: bytes) -> bytes:
    """A DICOM file with another JPEG in it, of the size of ``large``."""
    header, file = pydicom.dcmread(io.BytesIO(content)), io.BytesIO()
    header.Rows, header.Columns, header.PixelData = 192, 256, encapsulate([jpeg])
    header.save_as(file)
    return file.getvalue()


def _without_length(content: bytes, box: bytes) -> bytes:
    """JPEG 2000 with a box whose length is 0."""
    place = content.index(box) - 4
    return content[:place] + bytes(4) + content[place + 4 :]


def _volume(values: np.ndarray) -> bytes:
    return nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)).to_bytes()


def _zip(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("a.png", content)
    return file.getvalue()
