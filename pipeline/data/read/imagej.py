"""Stacks of ImageJ with a single page: the other images follow its pixels, and only the description counts them."""

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.read.gray import Pictures, check_size, eight_bits, usable
from pipeline.errors import UnusableImage

DESCRIPTION = 270  # tag of TIFF
UNPACKED = 1  # value of TIFF's compression
_IMAGES = re.compile(r"^ImageJ=.*?^images=(\d+)$", re.MULTILINE | re.DOTALL)


def images(image: Image.Image) -> int:
    """Number of images that ImageJ says are in the file; 0 for other files."""
    found = _IMAGES.search(str(getattr(image, "tag_v2", {}).get(DESCRIPTION, "")))
    return int(found[1]) if found else 0


def pictures(source: BinaryIO, count: int) -> Pictures:
    """The images of the stack, one by one."""
    for values in stack(source, count):
        pixels, rule = (values, "") if values.dtype == np.uint8 else eight_bits(values)
        yield usable(pixels, rule, among=count)


def stack(source: BinaryIO, count: int) -> Iterator[NDArray[Any]]:
    """Values (H, W) or (H, W, 3) of its images."""
    import tifffile

    source.seek(0)
    with tifffile.TiffFile(source) as file:
        page: Any = file.pages[0]
        kind, shape, each, start = page.dtype.newbyteorder(file.byteorder), page.shape, page.nbytes, page.dataoffsets[0]
        packed = page.compression != UNPACKED
    check_size(shape[1], shape[0], count, each / (shape[0] * shape[1]))
    size = source.seek(0, 2)
    if packed:
        raise UnusableImage(f"ImageJ says {count} images, and the file has one packed page; save it unpacked")
    if size < start + count * each:
        raise UnusableImage(f"the file is cut: ImageJ says {count} images of {each} bytes, got {size}; save it again")
    for number in range(count):
        source.seek(start + number * each)
        yield np.frombuffer(source.read(each), kind).reshape(shape)
