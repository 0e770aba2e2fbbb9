"""DICOM by pydicom: every frame as a viewer shows it.

Modality and VOI LUT, window, functional groups, palette, padding, stored bits, pixel size, MONOCHROME1 and the
presentation LUT's shape are followed. A window that leaves two gray values counts as none.
"""

import copy
import math
import re
import zlib
from collections.abc import Callable
from contextlib import closing
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.data.read.dicom_origin import first_number, origin
from pipeline.data.read.gray import (
    MAX_INFLATED,
    Pictures,
    Pixels,
    check_size,
    in_blocks,
    joined,
    square_pixels,
    usable,
)
from pipeline.errors import NoImage, UnusableImage

MAX_FIRST = 64  # bytes of the first element
DEFERRED = 2**20  # bytes; longer elements of a header stay in the file
NO_PICTURE = {
    "1.2.840.10008.1.3.10": "directory of a medium (DICOMDIR)",
    "1.2.840.10008.5.1.4.1.1.11.": "presentation state",
    "1.2.840.10008.5.1.4.1.1.66.": "segmentation or registration",
    "1.2.840.10008.5.1.4.1.1.88.": "structured report",
    "1.2.840.10008.5.1.4.1.1.104.": "encapsulated document",
    "1.2.840.10008.5.1.4.1.1.481.": "radiotherapy dose, plan or structures",
    "1.2.840.10008.5.1.4.1.1.9.": "waveform",
}
"""Start of a SOP class → what it holds instead of a picture."""
RT_IMAGE = "1.2.840.10008.5.1.4.1.1.481.1"
OCT = "OPT"  # modality whose images stay as stored: public OCT sets do not have square pixels either
GROUPS = (
    *("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence"),
    *("PlaneOrientationSequence", "PlanePositionSequence"),
)
"""Functional groups with elements that other files have in their header."""

Span = tuple[float, float]
Shade = tuple[Callable[[NDArray[Any]], NDArray[Any]], str]
"""From modality values to 0 (black) to 1, and the words for it."""


def is_dicom(head: bytes) -> bool:
    """Whether a file is DICOM, by its first bytes; one without preamble begins with group 2 or 8."""
    explicit, length = head[4:6].isalpha() and head[4:6].isupper(), int.from_bytes(head[4:8], "little")
    bare = head[:2] in (b"\x02\0", b"\x08\0") and (explicit or length <= MAX_FIRST)
    bare = bare or (head[:2] in (b"\0\x02", b"\0\x08") and explicit)  # big-endian
    return head[128:132] == b"DICM" or (bare and len(head) >= 132)


def frames(source: BinaryIO) -> Pictures:
    """Every frame; ``NoImage`` for files of another purpose, ``UnusableImage`` for what cannot be decoded."""
    try:
        yield from _frames(source)
    except UnusableImage:
        raise
    except Exception as error:
        said = str(error) or "no reason given"
        if "missing dependencies" in said and (syntax := re.search("'([^']+)'", said)):
            needed = f"{syntax[1]} needs a decoder"
            raise UnusableImage(f"{needed}: pip install 'proxyano[dicom]', or export it as PNG") from error
        reason = f"no usable DICOM image: {type(error).__name__}: {said}; export it again, or as PNG"
        raise UnusableImage(reason) from error


def _frames(source: BinaryIO) -> Pictures:
    from pydicom.pixels import iter_pixels  # takes a third of a second, and most files are no DICOM

    header, pixels = _header(source)
    kind = str(header.get("SOPClassUID", "") or getattr(header.file_meta, "MediaStorageSOPClassUID", ""))
    for start, what in NO_PICTURE.items():
        if f"{kind}.".startswith(start) and kind != RT_IMAGE:
            raise NoImage(f"no image: {what}")
    if "Rows" not in header or "Columns" not in header:
        raise UnusableImage("no usable DICOM image: it has no rows and columns; export it again, or as PNG")
    count = int(header.get("NumberOfFrames") or 1)
    check_size(int(header.Columns), int(header.Rows), count)
    spans: Span | None = None
    if _needs_span(_of_frame(header, 0)):
        with closing(iter_pixels(pixels)) as raws:
            each = [_span(raw, _of_frame(header, number)) for number, raw in enumerate(raws)]
        spans = min(low for low, _ in each), max(high for _, high in each)
    with closing(iter_pixels(pixels)) as raws:
        for number, raw in enumerate(raws):
            head = _of_frame(header, number)
            shown, said = _colours(raw, head) if _is_colour(head) else _gray(raw, head, spans)
            shown, resampled = square_pixels(shown, *_pixel_size(head))
            among = max(count, 2) if "ImagePositionPatient" in head else count  # its neighbours are in other files
            yield usable(shown, joined(said, resampled), among=among, origin=origin(head))


def _header(source: BinaryIO) -> tuple[Any, Any]:
    """Header, and what the frames are read from: the file, or a data set in memory where the file cannot be."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import _read_file_meta_info, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian as Deflated
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    source.seek(0)
    read_preamble(source, force=True)
    meta = _read_file_meta_info(source)
    syntax = meta.get("TransferSyntaxUID")
    if syntax == Deflated:
        _check_inflated(source)
    size = source.seek(0, 2)
    source.seek(0)
    if syntax and syntax != Deflated:
        return pydicom.dcmread(source, stop_before_pixels=True, defer_size=DEFERRED, force=True), source
    if size > MAX_INFLATED // 8:
        raise UnusableImage(f"expected at most {MAX_INFLATED // 2**23} MiB without a DICOM header, got {size}")
    header = pydicom.dcmread(source, force=True)
    if not syntax:
        header.file_meta = FileMetaDataset()
        implicit, little = header.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return header, header


def _check_inflated(source: BinaryIO) -> None:
    """Raise ``UnusableImage`` if what follows inflates above the limit; nothing of it is kept."""
    stream, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not stream.eof and (chunk := stream.unconsumed_tail or source.read(2**16)):
        total += len(stream.decompress(chunk, 2**20))
        if total > MAX_INFLATED // 8:
            raise UnusableImage(f"expected at most {MAX_INFLATED // 2**23} MiB inflated, got more")


def _of_frame(header: Any, number: int) -> Any:
    """The header with the functional groups of a frame, the shared ones first, laid over it."""
    shared = header.get("SharedFunctionalGroupsSequence") or []
    each = header.get("PerFrameFunctionalGroupsSequence") or []
    groups = [*shared[:1], *each[number : number + 1]]
    if not groups:
        return header
    flat = copy.copy(header)
    flat._dict = dict(header._dict)
    for group in groups:
        for name in GROUPS:
            for item in (group.get(name) or [])[:1]:
                flat._dict.update(item._dict)
    return flat


def _is_colour(head: Any) -> bool:
    return int(head.get("SamplesPerPixel") or 1) > 1 or str(head.PhotometricInterpretation) == "PALETTE COLOR"


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


def _gray(raw: NDArray[Any], head: Any, span: Span | None) -> tuple[Pixels, str]:
    rule, said = _shade(head, span or _span(raw, head))
    photometric, shape = str(head.get("PhotometricInterpretation", "")), str(head.get("PresentationLUTShape", ""))
    inverted = "MONOCHROME1" if photometric == "MONOCHROME1" else "INVERSE" if shape == "INVERSE" else ""

    def shown(block: NDArray[Any]) -> NDArray[Any]:
        share = np.clip(rule(block), 0, 1)
        return np.asarray(np.rint((1 - share if inverted else share) * 255))

    shaded = in_blocks(_modality(raw, head), shown)
    padding = _padding(raw, head)
    if padding is not None:
        shaded[padding] = 0
    return shaded, joined(said, f"{inverted} inverted" if inverted else "", "" if padding is None else "padding black")


def _modality(raw: NDArray[Any], head: Any) -> NDArray[Any]:
    """Values in the unit of the modality; the stored ones where nothing, or a slope of 0, is given."""
    from pydicom.pixels import apply_modality_lut

    if tables := head.get("ModalityLUTSequence"):
        first, count, bits = tables[0].LUTDescriptor
        tables[0].LUTDescriptor = [first, count, 8 if bits <= 8 else 16]  # a table is stored in 8 or 16 bits
    elif not head.get("RescaleSlope"):
        return raw
    return np.asarray(apply_modality_lut(raw, head))


def _padding(raw: NDArray[Any], head: Any) -> NDArray[np.bool_] | None:
    """Pixels beyond the imaged field, None without any."""
    if head.get("PixelPaddingValue") is None or raw.dtype.kind == "f":
        return None
    value = int(head.PixelPaddingValue)
    limit = head.get("PixelPaddingRangeLimit")
    low, high = sorted(int(np.array(end).astype(raw.dtype)) for end in (value, value if limit is None else limit))
    found = (raw >= low) & (raw <= high)
    return np.asarray(found) if found.any() and not found.all() else None


def _plain_bits(head: Any) -> int:
    """Stored bits where black and white follow from them (up to 8, unscaled and unsigned), else 0."""
    bits = int(head.get("BitsStored") or 32)
    scaled = "ModalityLUTSequence" in head or float(head.get("RescaleSlope") or 1) != 1
    scaled = scaled or float(head.get("RescaleIntercept") or 0) != 0
    return 0 if bits > 8 or scaled or int(head.get("PixelRepresentation") or 0) else bits


def _needs_span(head: Any) -> bool:
    given = _window(head) is not None or head.get("VOILUTSequence") or _plain_bits(head)
    return not (_is_colour(head) or given)


def _span(raw: NDArray[Any], head: Any) -> Span:
    """Lowest and highest value of a frame, without padding."""
    padding, values = _padding(raw, head), _modality(raw, head)
    values = values if padding is None else values[~padding]
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if values.size == 0:
        raise UnusableImage("no pixel has a finite value")
    return float(values.min()), float(values.max())


def _window(head: Any) -> tuple[float, float, str] | None:
    """Centre, width and function of the first window; None without one that can be meant.

    Some devices write empty, NaN, zero or negative widths, or a width of one stored value, which leaves two values.
    """
    centre, width = (first_number(head.get(name)) for name in ("WindowCenter", "WindowWidth"))
    step = 1.0 if "ModalityLUTSequence" in head else abs(float(head.get("RescaleSlope") or 1))
    if not math.isfinite(centre + width) or width <= (0 if _is_float(head) else step):
        return None
    function = str(head.get("VOILUTFunction") or "LINEAR")
    return centre, width, "LINEAR_EXACT" if function == "LINEAR" and width <= 1 else function


def _is_float(head: Any) -> bool:
    return head.get("BitsStored") is None


def _shade(head: Any, span: Span) -> Shade:
    """The rule of the file: its window, its VOI LUT, its stored bits, else the span of its values."""
    if (window := _window(head)) is not None:
        centre, width, function = window
        said = f"window {centre:g}/{width:g}"
        if function == "SIGMOID":
            from scipy.special import expit

            return lambda values: expit(4 * (values - centre) / width), f"{said} sigmoid"
        if function == "LINEAR_EXACT":
            return lambda values: (values - centre) / width + 0.5, said
        return lambda values: (values - centre + 0.5) / (width - 1) + 0.5, said
    if head.get("VOILUTSequence"):
        return _table(head)
    if bits := _plain_bits(head):
        return lambda values: values / (2**bits - 1), "" if bits == 8 else f"{bits} bits"
    low, high = span
    return lambda values: (values - low) / ((high - low) or 1), f"values {low:g} to {high:g}"


def _table(head: Any) -> Shade:
    """VOI LUT; black and white are the ends of the table, not of the picture."""
    from pydicom.pixels import apply_voi

    first, count, bits = head.VOILUTSequence[0].LUTDescriptor
    head.VOILUTSequence[0].LUTDescriptor = [first, count, 8 if bits <= 8 else 16]
    start = int(first) - 2**16 if first >= 2**15 and int(head.get("PixelRepresentation") or 0) else int(first)
    ends = apply_voi(np.arange(start, start + (int(count) or 2**16)), head)
    low, high = float(ends.min()), float(ends.max())
    rule = lambda values: (apply_voi(np.rint(values).astype(np.int64), head) - low) / ((high - low) or 1)  # noqa: E731
    return rule, "VOI LUT"


def _pixel_size(head: Any) -> tuple[float, float, str]:
    """Height and width of a pixel and their unit; a square one where nothing is said."""
    if str(head.get("Modality", "")) == OCT:
        return 1.0, 1.0, ""
    for name, unit in (("PixelSpacing", " mm"), ("ImagerPixelSpacing", " mm"), ("PixelAspectRatio", "")):
        value = head.get(name)
        if value is not None and not isinstance(value, str) and hasattr(value, "__len__") and len(value) == 2:
            return float(value[0]), float(value[1]), unit
    return 1.0, 1.0, ""
