"""Heidelberg's .vol: B-scans of floats behind headers of a fixed layout, which its export function describes."""

import hashlib
import struct
from typing import BinaryIO

import numpy as np

from pipeline.data.read.dicom_origin import NOBODY
from pipeline.data.read.gray import Origin, Pictures, check_size, in_blocks, usable
from pipeline.errors import UnusableImage

START = b"HSF-OCT-"
HEAD = 2048  # bytes; the picture of the fundus follows, then header and values of each B-scan
RULE = "logarithm, as Heidelberg Eye Explorer shows them"


def scans(source: BinaryIO) -> Pictures:
    """Every B-scan; values from 0 to 1 are shown by their logarithm, and 3.4e38 stands for no data."""
    size = source.seek(0, 2)
    source.seek(0)
    head = source.read(HEAD).ljust(HEAD, b"\0")
    width, count, height = struct.unpack_from("<3I", head, 12)
    step, distance, depth = struct.unpack_from("<3d", head, 24)  # mm
    (before,) = struct.unpack_from("<I", head, 100)
    check_size(width, height, count, depth=4)
    place, each = HEAD + int(np.prod(struct.unpack_from("<2I", head, 48), dtype=object)), before + 4 * width * height
    if size < place + count * each:
        raise UnusableImage(f"the file is cut: expected {place + count * each} bytes, got {size}; copy it again")
    patient = head[140:161].split(b"\0")[0].strip()
    known = patient.decode(errors="replace").lower() not in NOBODY
    subject = hashlib.sha256(patient).hexdigest()[:12] if known else ""
    for number in range(count):
        source.seek(place + number * each + before)
        values = np.frombuffer(source.read(4 * width * height), "<f4").reshape(height, width)
        shown = in_blocks(
            np.where((values >= 0) & (values <= 1), values, 0),
            lambda block: np.rint(np.clip((np.log(block + 2.44e-4) + 8.3) / 8.285, 0, 1) * 255),
        )
        yield usable(shown, RULE, among=count, origin=Origin(subject, pixel=min(step, depth), spacing=distance))
