"""Files that people have, as single images: PNG, JPEG, BMP, multi-page TIFF, DICOM, NIfTI.

What a file is, its content says, except NIfTI, which is known by its suffix. Ordinary images go through the decoder of
the training data, so that the same file gives the same pixels there and here.
"""

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.read.decode import MAX_PIXELS, check_size, decode_pages, not_constant, one_channel
from pipeline.errors import UnusableImage

NIFTI = (".nii", ".nii.gz")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom", *NIFTI)
"""What is looked for in a folder; a file that is named itself is tried whatever its suffix."""
WINDOW = (0.5, 99.5)
"""Percentiles of a NIfTI volume's voxels that become black and white: the format knows no window."""


@dataclass(frozen=True)
class Frame:
    """One image of a file: uint8 (H, W) or (H, W, 3), or the reason why there are no pixels."""

    path: Path
    number: int  # from 0; always 0 where the file holds one image
    pixels: NDArray[np.uint8] | None
    reason: str = ""


def find_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Files as they are, folders with all image files below them, sorted; hidden files are passed over.

    Raises ``FileNotFoundError`` where a path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"no such file or folder: {path}")
        if not path.is_dir():
            yield path
            continue
        for folder, folders, files in os.walk(path, followlinks=True):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            named = sorted(name for name in files if not name.startswith("."))
            yield from (Path(folder, name) for name in named if name.lower().endswith(SUFFIXES))


def read_frames(path: Path) -> Iterator[Frame]:
    """The images of a file one after the other; one that cannot be used comes with the reason, and the rest goes on."""
    number = -1
    try:
        for number, found in enumerate(_images(path)):
            if isinstance(found, UnusableImage):
                yield Frame(path, number, None, str(found))
            else:
                yield Frame(path, number, found)
        if number < 0:
            yield Frame(path, 0, None, "the file holds no image")
    except (UnusableImage, OSError) as error:
        yield Frame(path, number + 1, None, str(error))


def _images(path: Path) -> Iterator[NDArray[np.uint8] | UnusableImage]:
    if path.name.lower().endswith(NIFTI):
        return _nifti(path)
    data = path.read_bytes()
    return _dicom(data) if data[128:132] == b"DICM" else decode_pages(data)


def _dicom(data: bytes) -> Iterator[NDArray[np.uint8] | UnusableImage]:
    """Frames of a DICOM file: rescaled, windowed as the file says, MONOCHROME1 turned so that more is brighter."""
    import pydicom  # a third of a second, and most files are no DICOM
    from pydicom.errors import InvalidDicomError
    from pydicom.pixels import apply_modality_lut, iter_pixels

    try:
        header = pydicom.dcmread(io.BytesIO(data))
        check_size(int(header.Rows), int(header.Columns))
        for raw in iter_pixels(header):
            if raw.ndim == 3:
                yield _checked(one_channel(np.ascontiguousarray(raw[..., :3]).astype(np.uint8)))
                continue
            values, low, high = _windowed(apply_modality_lut(raw, header), header)
            if str(header.get("PhotometricInterpretation", "")) == "MONOCHROME1":
                values = high + low - values
            yield _checked(_to_bytes(values, low, high))
    except (InvalidDicomError, AttributeError, NotImplementedError, RuntimeError, ValueError, KeyError) as error:
        raise UnusableImage(f"no usable DICOM image: {error}".replace("\n", " ")) from error


def _windowed(values: NDArray[Any], header: Any) -> tuple[NDArray[Any], float, float]:
    """Values after the file's window, and what is black and white there.

    Without a window, 8 bits are taken as they are, as in any picture file; more are stretched over their own range.
    """
    from pydicom.pixels import apply_voi_lut, apply_windowing

    if "WindowCenter" in header:
        low, high = apply_windowing(np.array([[-1e12, 1e12]]), header)[0]  # what the window makes of both extremes
        return apply_windowing(values, header), float(low), float(high)
    if "VOILUTSequence" in header:
        values = apply_voi_lut(values, header)
    elif int(header.BitsStored) <= 8 and int(header.PixelRepresentation) == 0:
        return values, 0.0, 255.0
    return values, float(values.min()), float(values.max())


def _nifti(path: Path) -> Iterator[NDArray[np.uint8] | UnusableImage]:
    """Axial slices of a volume from the feet up, turned so that the patient's front is up and left is right."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        shape = image.shape
        if len(shape) not in (3, 4) or shape[0] * shape[1] > MAX_PIXELS:
            raise UnusableImage(f"expected a volume of 3 or 4 axes, got shape {shape}")
        volume = np.asarray(image.dataobj[..., 0] if len(shape) == 4 else image.dataobj, np.float32)
    except (ImageFileError, OSError, ValueError, EOFError) as error:
        raise UnusableImage(f"no readable NIfTI volume: {error}".replace("\n", " ")) from error
    finite = volume[np.isfinite(volume)]
    if finite.size == 0:
        raise UnusableImage("the volume has no finite voxel")
    low, high = (float(value) for value in np.percentile(finite[:: max(1, finite.size // 1_000_000)], WINDOW))
    for place in range(volume.shape[2]):
        plane = np.nan_to_num(volume[:, ::-1, place].T, nan=low)[:, ::-1]
        try:
            check_size(*plane.shape)
        except UnusableImage as error:
            yield error
            continue
        yield _checked(_to_bytes(plane, low, high))


def _to_bytes(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    unit = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    codes: NDArray[np.uint8] = np.rint(unit * 255).astype(np.uint8)
    return codes


def _checked(pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | UnusableImage:
    try:
        return not_constant(pixels)
    except UnusableImage as error:
        return error
