"""From the bytes of an image file to pixels, decoded to the last byte so that a cut file shows here and not later.

Names lie: a ``.jpg`` may hold a PNG with an alpha channel, a mask may be a palette TIFF of {0, 1} or RGBA. What a
file is, its content says.
"""

import io
import struct
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import UnusableImage

MIN_SIDE = 32
"""Shortest side of an image, px; below it is an icon."""
MAX_ASPECT = 8.0
"""Longest side over shortest; the widest OCT file of the official set has 3.1."""
MAX_PIXELS = 80_000_000
"""Pixels of an image; decoding more is refused before memory is taken."""
MAX_MARKED = 0.9
"""Largest share of pixels that a lesion mask may mark; a mask above it is inverted or was read from an alpha plane."""

_OPENING = threading.Lock()  # warning filters belong to the process: one thread at a time
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """Pixels of an image file: uint8 (H, W) where all channels agree, else (H, W, 3) RGB.

    Alpha is laid over black; more than 8 bits are shifted down so that the brightest pixel still fits. Raises
    ``UnusableImage`` for what cannot be decoded to its end and for absurd sizes or constant images.
    """
    image = _decoded(data)
    check_size(image.size[1], image.size[0])
    return not_constant(_eight_bits(image))


def decode_pages(data: bytes) -> Iterator[NDArray[np.uint8] | UnusableImage]:
    """Every page of an image file, each as ``decode_image`` gives it or with the reason why it cannot be used."""
    image = _opened(data)
    for page in range(int(getattr(image, "n_frames", 1))):
        try:
            image.seek(page)
            _load(image, data)
            check_size(image.size[1], image.size[0])
            yield not_constant(_eight_bits(image.copy()))
        except UnusableImage as error:
            yield error
        except _BROKEN as error:
            yield UnusableImage(f"page {page + 1} cannot be decoded: {error}")


def one_channel(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The first channel (H, W) of an image (H, W, 3) whose channels agree, else the image."""
    gray = (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all()
    return np.ascontiguousarray(rgb[..., 0]) if gray else rgb


def check_size(height: int, width: int) -> None:
    """Raise ``UnusableImage`` for icons and for strips."""
    if min(width, height) < MIN_SIDE:
        raise UnusableImage(f"expected sides of at least {MIN_SIDE} px, got {width}×{height}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnusableImage(f"expected an aspect of at most {MAX_ASPECT:g}, got {width}×{height}")


def not_constant(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same pixels; raises ``UnusableImage`` where all are equal."""
    if pixels.min() == pixels.max():
        raise UnusableImage(f"every pixel has the value {int(pixels.min())}: nothing was imaged")
    return pixels


def decode_mask(data: bytes, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Marked pixels (H, W) of a mask file for an image of ``shape`` (H, W).

    Palette files mark every index but 0; files with colours mark what is not black and not fully transparent, so an
    opaque alpha plane marks nothing. Raises ``UnusableImage`` naming the expected and the found size.
    """
    image = _decoded(data)
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


def small_gray(pixels: NDArray[np.uint8], middle: float, longest: int = 512) -> NDArray[np.uint8]:
    """Gray copy (H, W) in which near-duplicates are looked for: the middle of the image, at most ``longest`` px."""
    rows, cols = (round(side * (1 - middle) / 2) for side in pixels.shape[:2])
    pixels = pixels[rows : pixels.shape[0] - rows, cols : pixels.shape[1] - cols]
    gray = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    scale = longest / max(gray.shape)
    if scale < 1:
        size = (max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale)))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return np.asarray(gray, np.uint8)


def _decoded(data: bytes) -> Image.Image:
    image = _opened(data)
    _load(image, data)
    return image


def _opened(data: bytes) -> Image.Image:
    if not data:
        raise UnusableImage("the file is empty (0 bytes)")
    try:
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the pixel count is judged later, odd tags do not matter
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
    return UnusableImage(f"cannot be decoded, {len(data)} bytes: {error}".replace("\n", " "))


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "F":
        raise UnusableImage("expected integer pixels, got 32-bit floats")
    if image.mode.startswith("I"):
        return _shifted(np.asarray(image))
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
    return one_channel(np.asarray(image.convert("RGB")))


def _shifted(pixels: NDArray[np.integer]) -> NDArray[np.uint8]:
    if pixels.min() < 0:
        raise UnusableImage(f"expected pixels of at least 0, got {int(pixels.min())}")
    surplus = max(int(pixels.max()).bit_length() - 8, 0)
    return (pixels >> surplus).astype(np.uint8)
