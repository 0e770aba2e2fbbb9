"""DICOM by pydicom: every frame as a viewer shows it; functional groups, palette and pixel size are followed."""

import copy
import io
import re
import zlib
from contextlib import closing
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.data.read.dicom_gray import gray, is_colour, needs_span, span_of
from pipeline.data.read.dicom_origin import origin
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
from pipeline.data.read.images import opened
from pipeline.data.read.jpeg import check_complete
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
JPEGS, JPEG = "1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.4.50"  # start of transfer syntaxes of all kinds; 8 bits
BOXES = b"\0\0\0\x0cjP  "  # start of a JPEG 2000 file, in which the image is one of several boxes
RT_IMAGE = "1.2.840.10008.5.1.4.1.1.481.1"
OCT = "OPT"  # modality whose images stay as stored: public OCT sets do not have square pixels either
GROUPS = (
    *("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence"),
    *("PlaneOrientationSequence", "PlanePositionSequence"),
)
"""Functional groups with elements that other files have in their header."""


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
    place = source.tell()  # of the pixel data, unless they were read
    kind = str(header.get("SOPClassUID", "") or getattr(header.file_meta, "MediaStorageSOPClassUID", ""))
    for start, what in NO_PICTURE.items():
        if f"{kind}.".startswith(start) and kind != RT_IMAGE:
            raise NoImage(f"no image: {what}")
    if "Rows" not in header or "Columns" not in header:
        raise UnusableImage("no usable DICOM image: it has no rows and columns; export it again, or as PNG")
    count = int(header.get("NumberOfFrames") or 1)
    check_size(int(header.Columns), int(header.Rows), count, _depth(header))
    syntax = str(getattr(header.file_meta, "TransferSyntaxUID", ""))
    if pixels is source and syntax.startswith(JPEGS):
        _check_coded(source, place, count, syntax)
    span: tuple[float, float] | None = None
    if needs_span(_of_frame(header, 0)):
        with closing(iter_pixels(pixels)) as raws:
            each = [span_of(raw, _of_frame(header, number)) for number, raw in enumerate(raws)]
        span = min(low for low, _ in each), max(high for _, high in each)
    with closing(iter_pixels(pixels)) as raws:
        for number, raw in enumerate(raws):
            head = _of_frame(header, number)
            shown, said = _colours(raw, head) if is_colour(head) else gray(raw, head, span)
            shown, resampled = square_pixels(shown, *_pixel_size(head))
            among = max(count, 2) if "ImagePositionPatient" in head else count  # its neighbours are in other files
            yield usable(shown, joined(said, resampled), among=among, origin=origin(head))


def _check_coded(source: BinaryIO, place: int, count: int, syntax: str) -> None:
    """Raise ``UnusableImage`` for frames in JPEG that end before their picture, and for damaged boxes of JPEG 2000.

    pydicom would stay at a box of 0 bytes for ever.
    """
    from pydicom.encaps import generate_frames

    source.seek(place + 12)  # behind tag, type and length
    for content in generate_frames(source, number_of_frames=count):
        at = 12 if content.startswith(BOXES) else len(content)
        while at < len(content) and content[at + 4 : at + 8] != b"jp2c":
            length = int.from_bytes(content[at : at + 4], "big")
            if length < 8:
                raise UnusableImage(f"the JPEG 2000 data are damaged: a box of {length} bytes; export it again")
            at += length
        if syntax == JPEG:
            frame = io.BytesIO(content)
            with opened(frame) as image:
                image.load()
                check_complete(image, frame)


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


def _depth(head: Any) -> float:
    """Bytes that decoding takes for a pixel; brightness and colour differences become RGB as floats."""
    if str(head.get("PhotometricInterpretation", "")).startswith(("YBR", "PALETTE")):
        return 12.0 if head.PhotometricInterpretation != "PALETTE COLOR" else 6.0
    return int(head.get("SamplesPerPixel") or 1) * int(head.get("BitsAllocated") or 8) / 8


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
