"""Whether a TIFF packed as fax (CCITT) holds all of its picture: libtiff draws on where codes are damaged or missing.

ITU-T T.4 and T.6 lay the packing down bit by bit, so a picture that is packed again gives the bits that it came from.
"""

import io
import re
import struct
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from pipeline.errors import UnusableImage

METHODS = {2: "tiff_ccitt", 3: "group3", 4: "group4"}
"""Value of the tag of compression → its name in Pillow."""
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
OFFSETS, ROWS, COUNTS, T4, T6, TILES, TILE_COUNTS = 273, 278, 279, 292, 293, 324, 325
LONG = 4  # type of a tag
END = "000000000001"  # of a line, and twice of a picture in Group 4


def check_fax(image: Image.Image, source: BinaryIO) -> None:
    """Raise ``UnusableImage`` for a page of a TIFF, packed as fax, whose codes do not give their picture back."""
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(COMPRESSION) not in METHODS:
        return
    place = source.tell()
    for at, size, shape in _pieces(tags):
        source.seek(at)
        if not _whole(source.read(size), shape, tags):
            what = "its fax codes (CCITT) do not give a picture that gives them back"
            raise UnusableImage(f"the TIFF is damaged: {what}; copy it again, or save it as PNG")
    source.seek(place)


def _pieces(tags: Any) -> list[tuple[int, int, tuple[int, int]]]:
    """Place, bytes and shape (rows, columns) of every strip or tile."""
    width, height = int(tags[WIDTH]), int(tags[HEIGHT])
    if TILES in tags:
        return [
            (at, size, (int(tags[323]), int(tags[322])))
            for at, size in zip(tags[TILES], tags[TILE_COUNTS], strict=False)
        ]
    rows = min(int(tags.get(ROWS, height)), height)
    strips = zip(tags[OFFSETS], tags[COUNTS], range(0, height, rows), strict=False)
    return [(at, size, (min(rows, height - top), width)) for at, size, top in strips]


def _whole(data: bytes, shape: tuple[int, int], tags: Any) -> bool:
    method, options, order = tags[COMPRESSION], int(tags.get(T4, 0)), int(tags.get(FILL_ORDER, 1))
    again = io.BytesIO()
    with TiffImageFile(io.BytesIO(_alone(data, shape, method, options, order))) as shown:
        shown.load()
        shown.copy().save(again, "TIFF", compression=METHODS[method], strip_size=2**30)  # without its tags
    again.seek(0)
    with TiffImageFile(again) as packed:
        found: Any = packed.tag_v2
        wanted = _bits(again.getvalue()[found[OFFSETS][0] :][: found[COUNTS][0]], 1)
    got = _bits(data, order)
    if method == 3:  # bits may stand between the lines to fill bytes
        if options & 1:  # lines by their difference from others, how many is up to the program: they are counted
            return len(re.findall("0{11,}1", got)) >= shape[0]
        return _lines(got) == _lines(wanted)
    wanted = wanted.rstrip("0").removesuffix(2 * END) if method == 4 else wanted
    rest = got.removeprefix(wanted)
    return got.startswith(wanted) and (rest.startswith(2 * END) or "1" not in rest)


def _lines(bits: str) -> str:
    return re.sub("0{11,}1", "|", bits).strip("|0")


def _bits(data: bytes, order: int) -> str:
    values = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little" if order == 2 else "big")
    return bytes(values + ord("0")).decode()


def _alone(data: bytes, shape: tuple[int, int], method: int, options: int, order: int) -> bytes:
    """A TIFF of one strip."""
    rows, width = shape
    told = {WIDTH: width, HEIGHT: rows, BITS: 1, COMPRESSION: method, PHOTOMETRIC: 1, FILL_ORDER: order, OFFSETS: 8}
    told |= {277: 1, ROWS: rows, COUNTS: len(data), T4 if method == 3 else T6: options if method == 3 else 0}
    entries = b"".join(struct.pack("<HHII", tag, LONG, 1, value) for tag, value in told.items())
    data += bytes(len(data) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(told)) + entries + bytes(4)
