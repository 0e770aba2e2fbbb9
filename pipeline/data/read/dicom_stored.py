"""What a DICOM file stores, by pydicom: headers of frames, with functional groups laid over them, and values."""

import copy
import io
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO

from numpy.typing import NDArray

from pipeline.data.read.gray import MAX_INFLATED, check_size
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
CODED = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")  # transfer syntaxes of JPEG and RLE
RT_IMAGE = "1.2.840.10008.5.1.4.1.1.481.1"
GROUPS = (
    *("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence"),
    *("PlaneOrientationSequence", "PlanePositionSequence"),
)
"""Functional groups with elements that other files have in their header."""


@dataclass(frozen=True)
class Stored:
    """An open file that holds a picture."""

    header: Any
    count: int  # frames that the header names
    _pixels: Any  # the file, or a data set in memory

    @property
    def first(self) -> Any:
        """Header of the first frame."""
        return of_frame(self.header, 0)

    def frames(self) -> Iterator[tuple[NDArray[Any], Any]]:
        """Stored values and header of every frame, one by one."""
        from pydicom.pixels import iter_pixels  # takes a third of a second, and most files are no DICOM

        below = self._below()
        options = {"correct_unused_bits": False} if below else {}
        with closing(iter_pixels(self._pixels, **options)) as raws:
            for number, raw in enumerate(raws):
                yield _shifted(raw, below, self.header) if below else raw, of_frame(self.header, number)

    def _below(self) -> int:
        """Unused bits below a stored value; pydicom takes all of them to be above it."""
        stored, high = int(self.header.get("BitsStored") or 0), self.header.get("HighBit")
        coded = str(getattr(self.header.file_meta, "TransferSyntaxUID", "")).startswith(CODED)
        below = 0 if high is None or not stored or coded else int(high) + 1 - stored
        return below if 0 < below < int(self.header.get("BitsAllocated") or 0) else 0


def _shifted(raw: NDArray[Any], below: int, header: Any) -> NDArray[Any]:
    """Stored values whose lowest bit is bit ``below`` of a word."""
    above = raw.dtype.itemsize * 8 - below - int(header.BitsStored)
    return (raw << above) >> (above + below)  # the sign, if there is one, is carried along


def is_dicom(head: bytes) -> bool:
    """Whether a file is DICOM, by its first bytes; one without preamble begins with group 2 or 8."""
    explicit, length = head[4:6].isalpha() and head[4:6].isupper(), int.from_bytes(head[4:8], "little")
    bare = head[:2] in (b"\x02\0", b"\x08\0") and (explicit or length <= MAX_FIRST)
    bare = bare or (head[:2] in (b"\0\x02", b"\0\x08") and explicit)  # big-endian
    return head[128:132] == b"DICM" or (bare and len(head) >= 132)


def stored(source: BinaryIO) -> Stored:
    """What a file stores; ``NoImage`` for files of another purpose, ``UnusableImage`` beyond the limits of size."""
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
    return Stored(header, count, pixels)


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


def of_frame(header: Any, number: int) -> Any:
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
