"""DICOM by pydicom: every frame as a viewer shows it; functional groups, palette and pixel size are followed."""

import re
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.data.read.dicom_gray import gray, is_colour, needs_span
from pipeline.data.read.dicom_origin import origin
from pipeline.data.read.dicom_series import span_of_file, span_of_series
from pipeline.data.read.dicom_stored import stored
from pipeline.data.read.folder import Folder
from pipeline.data.read.gray import Pictures, Pixels, in_blocks, joined, square_pixels, usable
from pipeline.errors import UnusableImage

OCT = "OPT"  # modality whose images stay as stored: public OCT sets do not have square pixels either


def frames(source: BinaryIO, folder: Folder) -> Pictures:
    """Every frame; ``NoImage`` for files of another purpose, ``UnusableImage`` for what cannot be decoded."""
    try:
        yield from _frames(source, folder)
    except UnusableImage:
        raise
    except Exception as error:
        said = str(error) or "no reason given"
        if "missing dependencies" in said and (syntax := re.search("'([^']+)'", said)):
            needed = f"{syntax[1]} needs a decoder"
            raise UnusableImage(f"{needed}: pip install 'proxyano[dicom]', or export it as PNG") from error
        reason = f"no usable DICOM image: {type(error).__name__}: {said}; export it again, or as PNG"
        raise UnusableImage(reason) from error


def _frames(source: BinaryIO, folder: Folder) -> Pictures:
    file, span = stored(source), None
    if needs_span(file.first):
        span = span_of_series(folder, str(file.header.get("SeriesInstanceUID") or "")) or span_of_file(file)
    for raw, head in file.frames():
        shown, said = _colours(raw, head) if is_colour(head) else gray(raw, head, span)
        shown, resampled = square_pixels(shown, *_pixel_size(head))
        neighbours = "ImagePositionPatient" in head  # in other files
        among = max(file.count, 2) if neighbours else file.count
        yield usable(shown, joined(said, resampled), among=among, origin=origin(head))


def _colours(raw: NDArray[Any], head: Any) -> tuple[Pixels, str]:
    from pydicom.pixels import apply_color_lut

    said, bits = "", int(head.BitsStored)
    if raw.ndim == 2:
        raw, said = apply_color_lut(raw, head), "palette"
        bits = 8 * raw.dtype.itemsize if raw.max() > 255 else 8
    colours = raw[..., :3]
    if colours.shape[-1] != 3:
        raise UnusableImage(f"expected 1, 3 or 4 samples a pixel, got {colours.shape[-1]}")
    return in_blocks(colours, lambda block: np.floor(block * 2.0 ** (8 - bits))), said


def _pixel_size(head: Any) -> tuple[float, float, str]:
    """Height and width of a pixel and their unit; a square one where nothing is said."""
    if str(head.get("Modality", "")) == OCT:
        return 1.0, 1.0, ""
    for name, unit in (("PixelSpacing", " mm"), ("ImagerPixelSpacing", " mm"), ("PixelAspectRatio", "")):
        value = head.get(name)
        if value is not None and not isinstance(value, str) and hasattr(value, "__len__") and len(value) == 2:
            return float(value[0]), float(value[1]), unit
    return 1.0, 1.0, ""
