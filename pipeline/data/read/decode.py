"""From the bytes of an image file to pixels, decoded to the last byte so that a truncated file is found here.

File names and suffixes are not trusted: a ``.jpg`` may hold a PNG with an alpha channel, a mask may be a palette TIFF
of {0, 1} or RGBA.
"""

import io
import itertools
import struct
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.errors import UnusableImage

MIN_SIDE = 32
"""Shortest side of an image, px; anything smaller is an icon."""
MAX_ASPECT = 8.0
"""Longest side over shortest; the widest OCT file of the official set has 3.1."""
MAX_PIXELS = 80_000_000
"""Pixels of an image; larger ones are refused before memory is allocated."""
MAX_MARKED = 0.9
"""Largest share of pixels that a lesion mask may mark; above it the mask is inverted or is an alpha plane."""

Pixels = NDArray[np.uint8]
_OPENING = threading.Lock()  # warning filters are global: one thread at a time
_BROKEN = (OSError, SyntaxError, TypeError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def decode_image(data: bytes) -> Pixels:
    """Pixels of the first image of a file: uint8 (H, W) if all channels agree, else (H, W, 3) RGB.

    Alpha is laid over black; more than 8 bits are shifted down so that the brightest pixel still fits. Raises
    ``UnusableImage`` for a file that cannot be decoded to its end, and for extreme sizes and constant images.
    """
    first = next(decode_pages(data))
    if isinstance(first, UnusableImage):
        raise first
    return first


def decode_pages(data: bytes) -> Iterator[Pixels | UnusableImage]:
    """Every page of an image file, each as ``decode_image`` gives it, or the reason why it cannot be used."""
    image = _opened(data)
    for page in itertools.count():
        try:
            image.seek(page)
            _load(image, data)
            pixels = _eight_bits(image)
        except EOFError:
            return
        except UnusableImage as error:
            yield error
        except _BROKEN as error:
            yield _undecodable(data, error)
            return
        else:
            yield usable(pixels)


def usable(pixels: Pixels) -> Pixels | UnusableImage:
    """The pixels, or the reason why they are no image: too small, too long, or all equal."""
    height, width = pixels.shape[:2]
    if min(width, height) < MIN_SIDE:
        return UnusableImage(f"expected sides of at least {MIN_SIDE} px, got {width}×{height}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        return UnusableImage(f"expected an aspect of at most {MAX_ASPECT:g}, got {width}×{height}")
    if pixels.min() == pixels.max():
        return UnusableImage(f"every pixel has the value {int(pixels.min())}: nothing was imaged")
    return pixels


def one_channel(rgb: Pixels) -> Pixels:
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
        got = f"{image.size[0]}×{image.size[1]}"
        raise UnusableImage(f"expected a mask of {shape[1]}×{shape[0]} px like its image, got {got}")
    pixels = np.asarray(image)
    marked: NDArray[Any] = pixels > 0
    if pixels.ndim == 3:
        colours = 1 if image.mode == "LA" else 3
        marked = np.any(marked[..., :colours], axis=-1)
        if image.mode in ("LA", "RGBA"):
            marked &= pixels[..., -1] > 0
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
    return one_channel(np.asarray(image.convert("RGB")))
