"""Ordinary images and stacks of pages, by Pillow; TIFF of unusual sample types by tifffile."""

import io
import itertools
import threading
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from pipeline.data.read import imagej
from pipeline.data.read.fax import check_fax
from pipeline.data.read.gray import BLOCK, Pictures, Pixels, check_size, eight_bits, joined, usable
from pipeline.data.read.jpeg import check_complete
from pipeline.errors import UnusableImage

NO_PICTURES = {"EPS", "WMF", "HDF5", "GRIB", "BUFR", "PDF", "MPEG"}
"""Formats that Pillow lists but hands to other programs, or to none."""
SUBFILE, BITS, PHOTOMETRIC, ORIENTATION, PLANAR, SAMPLE_FORMAT = 254, 258, 262, 274, 284, 339  # tags of TIFF

_OPENING = threading.Lock()  # warning filters are global: one thread at a time


def pictures(source: BinaryIO) -> Pictures:
    """Every page of an image file, or the reason why a page cannot be used; the pages after it may still come."""
    try:
        image = opened(source)
    except UnidentifiedImageError:
        if not is_tiff(source):
            raise
        yield from (usable(*_deep(array, white, ""), among=count) for array, white, count in tifffile_pages(source))
        return
    count = page_count(image)
    if count == 1 and (stack := imagej.images(image)) > 1:
        yield from imagej.pictures(source, stack)
        return
    for page, problem in pages(image, source, count):
        try:
            yield problem or usable(*_shown(image, source, page), among=count)
        except UnusableImage as error:
            yield error


def is_tiff(source: BinaryIO) -> bool:
    """Whether a file begins as a TIFF does."""
    source.seek(0)
    return source.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def page_count(image: Image.Image) -> int:
    """Pages of a file; of one whose list of pages is damaged 2, for reading them gives the reason."""
    try:
        return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # an MPO's others are previews
    except Exception:  # noqa: BLE001 - the same exception comes again at its page
        return 2


def pages(image: Image.Image, source: BinaryIO, count: int) -> Iterator[tuple[int, UnusableImage | None]]:
    """Load page after page, without smaller copies of others (previews): its number, and why it cannot be used."""
    for page in itertools.count() if count > 1 else range(1):
        try:
            image.seek(page)
            if getattr(image, "tag_v2", {}).get(SUBFILE, 0) & 1:
                continue
            check_size(*image.size, frames=page + 1, depth=depth(image, source))
            check_whole(image, source)
            yield page, None
        except EOFError:
            return
        except UnusableImage as error:
            yield page, error


def opened(source: BinaryIO) -> Image.Image:
    """The file, not yet decoded; ``UnidentifiedImageError`` if Pillow knows no such format."""
    Image.init()
    known = [name for name in Image.ID if name not in NO_PICTURES]
    source.seek(0)
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the number of pixels is checked before decoding, odd tags do not matter
        return Image.open(source, formats=known)


def depth(image: Image.Image, source: BinaryIO) -> int:
    """Bytes that decoding takes for a pixel, before a page is loaded."""
    each = {"JPEG2000": 4}.get(str(image.format), 6 if image.mode in ("I", "F") else _bits(image, source) // 8 or 1)
    beside = 2 if image.format in ("WEBP", "AVIF") else int(bool(image.info.get("progressive")))  # the decoder's own
    return len(image.getbands()) * each + beside


def check_whole(image: Image.Image, source: BinaryIO) -> None:
    """Load a page; ``UnusableImage`` for what is damaged and what Pillow decodes to the end without a word."""
    if image.format == "TIFF":
        check_fax(image, source)
    image.load()
    place = source.tell()
    try:
        if image.format in ("JPEG", "MPO"):
            check_complete(image, source)
        if image.format != "PNG":
            return
        opened(source).verify()
    except SyntaxError as error:
        raise UnusableImage(f"the PNG is damaged: {error}; copy or download it again") from error
    except OSError:
        return  # its closing chunk is missing, which says nothing about the pixels
    finally:
        source.seek(place)


def upright(image: Image.Image) -> tuple[Image.Image, str]:
    """The image turned as its EXIF orientation says, and which that was; Pillow turns TIFF while loading."""
    turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    if turn not in range(2, 9):
        return image, ""
    turned = ImageOps.exif_transpose(image)
    return turned, f"EXIF orientation {turn}"


def values(image: Image.Image) -> tuple[NDArray[Any], bool]:
    """Values (H, W) of a loaded image with one deep or float channel, and whether zero is white."""
    array = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if tags.get(SAMPLE_FORMAT, (1,))[0] == 1 and tags.get(BITS, (0,))[0] == 32 and array.dtype.kind == "i":
        array = array.view(np.uint32)  # Pillow has no unsigned mode of 32 bits
    return array, tags.get(PHOTOMETRIC) == 0  # which Pillow turns only in 8 bits


def _deep(array: NDArray[Any], white_is_zero: bool, turned: str) -> tuple[Pixels, str]:
    pixels, rule = eight_bits(array)
    return (255 - pixels if white_is_zero else pixels), joined(rule, "white is zero" if white_is_zero else "", turned)


def _shown(image: Image.Image, source: BinaryIO, page: int) -> tuple[Pixels, str]:
    if _bits(image, source) == 16 and image.mode in ("LA", "RGB", "RGBA"):
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        source.seek(0)
        data = np.frombuffer(source.read(), np.uint8)
        if image.format == "PNG" and not getattr(image, "is_animated", False):
            image.close()  # it was decoded to its end; its upper 8 bits need not stay in memory
        pixels, rule = eight_bits((planar_colours if is_planar(image) else _deep_colours)(data, page))
        pixels = np.ascontiguousarray(pixels[..., ::-1])
        if orientation not in range(2, 9):
            return pixels, rule
        shown = Image.fromarray(pixels)
        shown.getexif()[ExifTags.Base.Orientation] = orientation
        shown, turned = upright(shown)
        return np.asarray(shown), joined(rule, turned)
    image, turned = upright(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return _deep(*values(image), turned)
    if image.mode in ("1", "L"):
        gray = np.asarray(image.convert("L"), np.uint8)
        signed = getattr(image, "tag_v2", {}).get(SAMPLE_FORMAT, (1,))[0] == 2
        return (gray ^ np.uint8(128), joined("signed bytes", turned)) if signed else (gray, turned)
    out = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, BLOCK // image.width)
    hidden = image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)  # it hides all: an error of export
    for start in range(0, image.height, rows):
        band = image.crop((0, start, image.width, min(start + rows, image.height)))
        if not hidden and (band.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info):
            layer = band.convert("RGBA")
            band = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
        out[start : start + rows] = np.asarray(band.convert("RGB"))
    return out, turned


def _bits(image: Image.Image, source: BinaryIO) -> int:
    """Bits of a channel of a PNG or TIFF; 8 for all others."""
    if image.format != "PNG":
        return int(getattr(image, "tag_v2", {}).get(BITS, (8,))[0])
    place = source.tell()
    source.seek(24)
    bits = source.read(1)[0]
    source.seek(place)
    return bits


def _deep_colours(data: NDArray[np.uint8], page: int) -> NDArray[Any]:
    """BGR (H, W, 3) of 16 bits a channel, of which Pillow gives the upper 8; without alpha.

    ``IMREAD_COLOR_RGB`` would mix up the values of a TIFF.
    """
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    read, found = cv2.imdecodemulti(data, flags, range=(page, page + 1))
    if not read or found[0].dtype != np.uint16:
        raise UnusableImage("expected colours of 16 bits, got none that OpenCV decodes; export it with 8 bits")
    return np.asarray(found[0])


def is_planar(image: Image.Image) -> bool:
    """Whether red, green and blue of 16 bits are stored one after the other, which Pillow and OpenCV mix up."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(PLANAR) == 2 and tags.get(BITS, (8,))[0] == 16 and image.mode == "RGB"


def planar_colours(data: NDArray[np.uint8], page: int) -> NDArray[Any]:
    """BGR (H, W, 3) of a page for which ``is_planar`` holds."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data.tobytes())) as file:
        found: Any = file.pages[page]
        return np.ascontiguousarray(_turned(np.moveaxis(found.asarray(), 0, -1), found)[..., 2::-1])


def _turned(array: NDArray[Any], page: Any) -> NDArray[Any]:
    """Values (H, W, …) of tifffile turned as the page's orientation says, which tifffile leaves to its callers."""
    orientation = int(page.tags[ORIENTATION].value) if ORIENTATION in page.tags else 1
    array = array.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else array
    array = array[::-1] if orientation in (3, 4, 7, 8) else array
    return array[:, ::-1] if orientation in (2, 3, 6, 7) else array


def tifffile_pages(source: BinaryIO) -> Iterator[tuple[NDArray[Any], bool, int]]:
    """Values (H, W) or (H, W, 3) of a TIFF's pages that Pillow does not know, whether zero is white, how many pages."""
    import tifffile

    source.seek(0)
    with tifffile.TiffFile(source) as file:
        pages: Any = file.pages
        for number, page in enumerate(pages):
            if not page.imagewidth * page.imagelength:
                raise UnidentifiedImageError("a page without pixels")
            check_size(
                page.imagewidth, page.imagelength, number + 1, page.nbytes / max(1, page.imagewidth * page.imagelength)
            )
            array = page.asarray().squeeze()
            array = np.moveaxis(array, 0, -1) if array.ndim == 3 and page.planarconfig == 2 else array
            if array.ndim != 2 and (array.ndim != 3 or array.shape[-1] not in (3, 4)):
                raise UnusableImage(f"expected pages of 1, 3 or 4 channels, got an array of shape {array.shape}")
            yield _turned(array if array.ndim == 2 else array[..., :3], page), page.photometric == 0, len(pages)
