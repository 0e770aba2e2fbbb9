"""Whether a JPEG holds all of its picture: libjpeg fills what is missing with gray, and Pillow passes that on."""

import io
import re
import zlib
from itertools import pairwise, product
from typing import BinaryIO, NamedTuple

from PIL import Image

from pipeline.errors import UnusableImage

MAX_FILE = 2**28  # bytes that are looked at; 80 megapixels take fewer
MAX_SCANS = 100  # of a progressive file; writers use about 10, and each takes as long as the whole picture
ZEROS = 32  # bytes; a longer run at the end of the data is looked at
_END = re.compile(rb"\xff+[\x01-\xfe]")  # a marker in the data; a stored 255 is followed by 0
_ADDED = bytes(range(7, 250, 2)) + bytes(range(6, 250, 2))


class _Layout(NamedTuple):
    progressive: bool
    missing: bool  # a component, or bits of it, that no scan holds
    ends: list[int]  # places where coded data ends: of every scan, and of every restart interval in it


def check_complete(image: Image.Image, source: BinaryIO) -> None:
    """Raise ``UnusableImage`` where the picture of a decoded JPEG ends before its file, or is filled with zeros.

    What lies behind the last block of sound data is never read. Where bytes added there change the picture, the
    decoder had too few; where zeros there were drawn, but not all of them, they stand for lost data.
    """
    source.seek(0)
    data = source.read(MAX_FILE)
    layout = _layout(data)
    if layout.missing:
        raise UnusableImage("the JPEG is cut: parts of its picture are missing; copy or download it again")
    if not layout.ends:
        return
    last = layout.ends[-1]
    data = data[:last] + b"\xff\xd9"
    zeros = last - len(data[:last].rstrip(b"\0"))
    block = image.crop((image.width - 8, image.height - 8, *image.size)).getextrema()
    gray = all(span in ((127, 127), (128, 128)) for span in (block if image.mode != "L" else [block]))
    if not (gray or zeros > ZEROS or layout.progressive or len(layout.ends) > 1):
        return
    shown = _checksum(image)
    if shown != _decoded(_with(data, layout.ends, _ADDED)):
        raise UnusableImage("the JPEG is cut: its data end before its picture; copy or download it again")
    if zeros <= ZEROS or shown == _decoded(data[: last - zeros] + zeros * b"\xa5" + data[last:]):
        return
    if shown == _decoded(data[: last - zeros // 2] + data[last:]):
        raise UnusableImage("the JPEG is damaged: zeros stand for the end of its data; copy or download it again")


def _layout(data: bytes) -> _Layout:
    """Walk over the markers of a file up to its end mark."""
    ends, wanted, held = list[int](), set[tuple[int, int]](), set[tuple[int, int]]()
    progressive, place, scans = False, 2, 0
    while place + 4 <= len(data):
        found = _END.search(data, place)
        if found is None or data[found.end() - 1] == 0xD9:
            break
        marker, start = data[found.end() - 1], found.end()
        place = start
        if marker == 1 or 0xD0 <= marker <= 0xD8:  # they stand alone
            continue
        place += int.from_bytes(data[start : start + 2], "big")
        head = data[start + 2 : place]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(head) > 5:
            if marker > 0xC8:  # arithmetic coding, whose sound data may end early
                break
            progressive = marker == 0xC2
            wanted = set(product(head[6::3], range(64 if progressive else 1)))
        elif marker == 0xDA and len(head) > 3:
            scans += 1
            if scans > MAX_SCANS:
                raise UnusableImage(f"expected a JPEG of at most {MAX_SCANS} scans, got more; export it again")
            first, final, bits = head[-3:] if progressive else (0, 0, 0)
            if not bits & 15:
                held |= set(product(head[1:-3:2], range(first, final + 1)))
            while (end := _END.search(data, place)) is not None:
                ends.append(end.start())
                if not 0xD0 <= data[end.end() - 1] <= 0xD7:
                    break
                place = end.end()
            place = ends[-1] if end is not None else len(data)
    return _Layout(progressive, bool(ends) and not wanted <= held, ends)


def _with(data: bytes, places: list[int], added: bytes) -> bytes:
    """The data with bytes added at some places."""
    parts = (data[start:end] for start, end in pairwise([0, *places, len(data)]))
    return added.join(parts)


def _decoded(data: bytes) -> int:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return _checksum(image)


def _checksum(image: Image.Image) -> int:
    """Of all pixels, a band of rows at a time."""
    value, rows = 0, max(1, 2**20 // image.width)
    for top in range(0, image.height, rows):
        value = zlib.crc32(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes(), value)
    return value
