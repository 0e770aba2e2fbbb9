"""From image files to pixels: PNG, JPEG, BMP, multi-page TIFF, DICOM, NIfTI, and lesion masks.

The content identifies the format, except for NIfTI, where the suffix does: a ``.jpg`` may hold a PNG with alpha.
"""

import io
import itertools
import struct
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.errors import UnusableImage

MIN_SIDE = 32  # px, shortest side of an image; anything smaller is an icon
MAX_ASPECT = 8.0  # longest side over shortest; the widest OCT file of the official set has 3.1
MAX_PIXELS = 80_000_000  # of an image; larger ones are refused before memory is allocated
MAX_MARKED = 0.9  # share of pixels that a lesion mask may mark; above it the mask is inverted or is an alpha plane
NIFTI = (".nii", ".nii.gz")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom", *NIFTI)
"""Files that are read in a folder; a file that is given by name is read whatever its suffix."""
WINDOW = (0.5, 99.5)
"""Percentiles of a NIfTI volume's voxels that become black and white: the format has no window."""

Pixels = NDArray[np.uint8]
_OPENING = threading.Lock()  # warning filters are global: one thread at a time
_BROKEN = (OSError, SyntaxError, TypeError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Frame:
    """One image of a file: uint8 (H, W) or (H, W, 3), or the reason why there are no pixels."""

    path: Path
    number: int  # from 0; always 0 where the file holds one image
    pixels: Pixels | None
    reason: str = ""


def read_frames(path: Path) -> Iterator[Frame]:
    """The images of a file one by one; an unusable one has its reason, and the next follow."""
    number = -1
    try:
        if path.name.lower().endswith(NIFTI):
            pages = _nifti(path)
        else:
            data = path.read_bytes()
            pages = _dicom(data) if data[128:132] == b"DICM" else _pages(data)
        for number, image in enumerate(pages):
            reason = str(image) if isinstance(image, UnusableImage) else ""
            yield Frame(path, number, None if isinstance(image, UnusableImage) else image, reason)
        if number < 0:
            yield Frame(path, 0, None, "the file holds no image")
    except (UnusableImage, OSError) as error:
        yield Frame(path, number + 1, None, str(error))


def decode_image(data: bytes) -> Pixels:
    """Pixels of the first image of a file: uint8 (H, W) if all channels agree, else (H, W, 3) RGB.

    Alpha is laid over black; more than 8 bits are shifted down so that the brightest pixel still fits. Raises
    ``UnusableImage`` for a file that cannot be decoded to its end, and for extreme sizes and constant images.
    """
    first = next(_pages(data))
    if isinstance(first, UnusableImage):
        raise first
    return first


def _pages(data: bytes) -> Iterator[Pixels | UnusableImage]:
    """Every page of an image file, each as ``decode_image`` gives it, or the reason why it cannot be used."""
    image = _opened(data)
    for page in itertools.count():
        try:
            image.seek(page)
            _load(image, data)
            yield _usable(_eight_bits(image))
        except EOFError:
            return
        except UnusableImage as error:
            yield error
        except _BROKEN as error:
            yield _undecodable(data, error)
            return


def _usable(pixels: Pixels) -> Pixels | UnusableImage:
    """The pixels, or the reason why they are no image: too small, too long, or all equal."""
    height, width = pixels.shape[:2]
    if min(width, height) < MIN_SIDE:
        return UnusableImage(f"expected sides of at least {MIN_SIDE} px, got {width}×{height}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        return UnusableImage(f"expected an aspect of at most {MAX_ASPECT:g}, got {width}×{height}")
    if pixels.min() == pixels.max():
        return UnusableImage(f"every pixel has the value {int(pixels.min())}: nothing was imaged")
    return pixels


def _one_channel(rgb: Pixels) -> Pixels:
    """The first channel (H, W) of an image (H, W, 3) whose channels agree, else the image."""
    gray = (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all()
    return np.ascontiguousarray(rgb[..., 0]) if gray else rgb


def decode_mask(data: bytes, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Marked pixels (H, W) of a mask file for an image of ``shape`` (H, W).

    Palette files mark every index but 0; files with colours mark what is not black and not fully transparent, so an
    opaque alpha plane marks nothing. Raises ``UnusableImage`` for another size and for masks that mark too much.
    """
    image = _opened(data)
    _load(image, data)
    if image.size != (shape[1], shape[0]):
        expected, got = f"{shape[1]}×{shape[0]} px like its image", f"{image.size[0]}×{image.size[1]}"
        raise UnusableImage(f"expected a mask of {expected}, got {got}")
    marked: NDArray[Any] = np.asarray(image) > 0
    if marked.ndim == 3:
        shown = marked[..., -1] if image.mode in ("LA", "RGBA") else True
        marked = np.any(marked[..., : 1 if image.mode == "LA" else 3], axis=-1) & shown
    share = float(marked.mean())
    if share > MAX_MARKED:
        raise UnusableImage(f"the mask marks {share:.0%} of the image, expected at most {MAX_MARKED:.0%}")
    return np.asarray(marked, np.bool_)


def _opened(data: bytes) -> Image.Image:
    if not data:
        raise UnusableImage("the file is empty (0 bytes)")
    try:
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the number of pixels is checked in _load, odd tags do not matter
            return Image.open(io.BytesIO(data))
    except _BROKEN as error:
        raise _undecodable(data, error) from error


def _load(image: Image.Image, data: bytes) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnusableImage(f"expected at most {MAX_PIXELS / 1e6:.0f} megapixels, got {width}×{height}")
    try:
        image.load()
    except _BROKEN as error:
        raise _undecodable(data, error) from error


def _undecodable(data: bytes, error: BaseException) -> UnusableImage:
    if isinstance(error, UnidentifiedImageError):  # its text holds a memory address, which differs in every run
        return UnusableImage(f"cannot be decoded, {len(data)} bytes: not a known image format")
    return UnusableImage(f"cannot be decoded, {len(data)} bytes: {error}".replace("\n", " "))


def _eight_bits(image: Image.Image) -> Pixels:
    if image.mode == "F":
        raise UnusableImage("expected integer pixels, got 32-bit floats")
    if image.mode.startswith("I"):
        pixels = np.asarray(image)
        if pixels.min() < 0:
            raise UnusableImage(f"expected pixels of at least 0, got {int(pixels.min())}")
        surplus = max(int(pixels.max()).bit_length() - 8, 0)
        return (pixels >> surplus).astype(np.uint8)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
    return _one_channel(np.asarray(image.convert("RGB")))


def _dicom(data: bytes) -> Iterator[Pixels | UnusableImage]:
    """Frames of a DICOM file: rescaled, windowed as the file says, MONOCHROME1 inverted so that more is brighter."""
    import pydicom  # takes a third of a second, and most files are no DICOM
    from pydicom.errors import InvalidDicomError
    from pydicom.pixels import apply_modality_lut, iter_pixels

    try:
        header = pydicom.dcmread(io.BytesIO(data))
        for raw in iter_pixels(header):
            if raw.ndim == 3:
                yield _usable(_one_channel(np.ascontiguousarray(raw[..., :3]).astype(np.uint8)))
                continue
            values, low, high = _windowed(apply_modality_lut(raw, header), header)
            if str(header.get("PhotometricInterpretation", "")) == "MONOCHROME1":
                values = high + low - values
            yield _usable(_to_bytes(values, low, high))
    except (InvalidDicomError, AttributeError, NotImplementedError, RuntimeError, ValueError, KeyError) as error:
        reason = f"no usable DICOM image: {error}; export it again, or as PNG".replace("\n", " ")
        raise UnusableImage(reason) from error


def _windowed(values: NDArray[Any], header: Any) -> tuple[NDArray[Any], float, float]:
    """Values after the file's window, and black and white; without one 8 bits stay, more bits are stretched."""
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
        yield _usable(_to_bytes(plane, low, high))


def _to_bytes(values: NDArray[Any], low: float, high: float) -> Pixels:
    return np.asarray(np.rint(np.clip((values - low) / max(high - low, 1e-9), 0, 1) * 255), np.uint8)
