"""The images of any file that users have: PNG, JPEG, BMP, multi-page TIFF, DICOM, NIfTI.

The content identifies the format, except for NIfTI, where the suffix does. Ordinary images go through the decoder of
the training data, so the same file gives the same pixels in both places.
"""

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.read.decode import MAX_PIXELS, Pixels, decode_pages, one_channel, usable
from pipeline.errors import UnusableImage

NIFTI = (".nii", ".nii.gz")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom", *NIFTI)
"""Files that are read in a folder; a file that is given by name is read whatever its suffix."""
WINDOW = (0.5, 99.5)
"""Percentiles of a NIfTI volume's voxels that become black and white: the format has no window."""


@dataclass(frozen=True)
class Frame:
    """One image of a file: uint8 (H, W) or (H, W, 3), or the reason why there are no pixels."""

    path: Path
    number: int  # from 0; always 0 where the file holds one image
    pixels: Pixels | None
    reason: str = ""


def find_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The given files, and all image files below the given folders, sorted; hidden files are skipped.

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
            names = sorted(name for name in files if not name.startswith("."))
            yield from (Path(folder, name) for name in names if name.lower().endswith(SUFFIXES))


def read_frames(path: Path) -> Iterator[Frame]:
    """The images of a file one by one; an unusable one has its reason, and the next follow."""
    number = -1
    try:
        for number, image in enumerate(_images(path)):
            if isinstance(image, UnusableImage):
                yield Frame(path, number, None, str(image))
            else:
                yield Frame(path, number, image)
        if number < 0:
            yield Frame(path, 0, None, "the file holds no image")
    except (UnusableImage, OSError) as error:
        yield Frame(path, number + 1, None, str(error))


def _images(path: Path) -> Iterator[Pixels | UnusableImage]:
    if path.name.lower().endswith(NIFTI):
        return _nifti(path)
    data = path.read_bytes()
    return _dicom(data) if data[128:132] == b"DICM" else decode_pages(data)


def _dicom(data: bytes) -> Iterator[Pixels | UnusableImage]:
    """Frames of a DICOM file: rescaled, windowed as the file says, MONOCHROME1 inverted so that more is brighter."""
    import pydicom  # takes a third of a second, and most files are no DICOM
    from pydicom.errors import InvalidDicomError
    from pydicom.pixels import apply_modality_lut, iter_pixels

    try:
        header = pydicom.dcmread(io.BytesIO(data))
        for raw in iter_pixels(header):
            if raw.ndim == 3:
                yield usable(one_channel(np.ascontiguousarray(raw[..., :3]).astype(np.uint8)))
                continue
            values, low, high = _windowed(apply_modality_lut(raw, header), header)
            if str(header.get("PhotometricInterpretation", "")) == "MONOCHROME1":
                values = high + low - values
            yield usable(_to_bytes(values, low, high))
    except (InvalidDicomError, AttributeError, NotImplementedError, RuntimeError, ValueError, KeyError) as error:
        reason = f"no usable DICOM image: {error}; export it again, or as PNG".replace("\n", " ")
        raise UnusableImage(reason) from error


def _windowed(values: NDArray[Any], header: Any) -> tuple[NDArray[Any], float, float]:
    """Values after the file's window, and the values of black and white.

    Without a window, 8 bits stay as they are, as in any picture file; more bits are stretched over their own range.
    """
    from pydicom.pixels import apply_voi_lut, apply_windowing

    if "WindowCenter" in header:
        low, high = apply_windowing(np.array([[-1e12, 1e12]]), header)[0]  # where the window maps both extremes
        return apply_windowing(values, header), float(low), float(high)
    if "VOILUTSequence" in header:
        values = apply_voi_lut(values, header)
    elif int(header.BitsStored) <= 8 and int(header.PixelRepresentation) == 0:
        return values, 0.0, 255.0
    return values, float(values.min()), float(values.max())


def _nifti(path: Path) -> Iterator[Pixels | UnusableImage]:
    """Axial slices of a volume from the feet up, the patient's front up and left on the right."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        shape = image.shape
        if len(shape) not in (3, 4) or shape[0] * shape[1] > MAX_PIXELS:
            raise UnusableImage(f"expected a volume of 3 or 4 axes, got shape {shape}")
        volume = np.asarray(image.dataobj[..., 0] if len(shape) == 4 else image.dataobj, np.float32)
    except (ImageFileError, OSError, ValueError, EOFError) as error:
        reason = f"no readable NIfTI volume: {error}; copy or export it again".replace("\n", " ")
        raise UnusableImage(reason) from error
    finite = volume[np.isfinite(volume)]
    if finite.size == 0:
        raise UnusableImage("the volume has no finite voxel")
    low, high = (float(value) for value in np.percentile(finite[:: max(1, finite.size // 1_000_000)], WINDOW))
    for place in range(volume.shape[2]):
        plane = np.nan_to_num(volume[:, ::-1, place].T, nan=low)[:, ::-1]
        yield usable(_to_bytes(plane, low, high))


def _to_bytes(values: NDArray[Any], low: float, high: float) -> Pixels:
    unit = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    codes: Pixels = np.rint(unit * 255).astype(np.uint8)
    return codes
