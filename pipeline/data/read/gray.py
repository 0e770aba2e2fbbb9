"""From values to 8 bits: the rules of depth, limits of size, and pixels that are not square."""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import EmptyFrame, UnusableImage

MIN_SIDE = 32  # px, shortest side of an image; anything smaller is an icon
MAX_ASPECT = 8.0  # longest side over shortest; the widest OCT file of the official set has 3.1
MAX_PIXELS = 80_000_000  # of an image; larger ones are refused before memory is allocated
MAX_BYTES = 3 * MAX_PIXELS  # of its decoded values, likewise; reading takes up to four times as much
MAX_VOXELS = 512 * 512 * 2000  # of a volume, likewise
MAX_FRAMES = 5_000  # of a file
MAX_INFLATED = 2**31  # bytes of an unpacked .nii.gz; a deflated DICOM, which is held in memory, may have an eighth
WINDOW = (0.5, 99.5)
"""Percentiles that become black and white where a format says nothing: NIfTI, floats, more than 16 bits."""
SAMPLE = 1_000_000  # values of a volume or series that tell them
BLOCK = 2**20  # values converted at once
AIR, IMAGED = 16, 0.01  # a slice of a volume shows air if a smaller share of its pixels is at least this bright
MAX_STRETCH = 20  # a pixel's longer side over its shorter; above it the spacing is taken for an error

Pixels = NDArray[np.uint8]

PLANES = ("sagittal", "coronal", "axial")
"""Planes of slices by the axis perpendicular to them: from side to side, to the back, upwards."""


class Origin(NamedTuple):
    """What a file says of where its slices come from; empty or NaN where it says nothing."""

    subject: str = ""  # hash of the patient's id, else of the study's or the series': never in two splits
    series: str = ""  # its slices are one volume, as the slices of one file are
    plane: str = ""  # axial, sagittal or coronal
    pixel: float = math.nan  # mm, the finer side of a pixel
    spacing: float = math.nan  # mm from slice to slice
    place: tuple[float, ...] = ()  # of a NIfTI volume: 12 numbers, from (right, front, up) in voxels to mm


NOWHERE = Origin()


class Picture(NamedTuple):
    """One image: uint8 (H, W) or (H, W, 3), and what was done to its gray values; empty if nothing."""

    pixels: Pixels
    gray_values: str = ""
    origin: Origin = NOWHERE


Pictures = Generator[Picture | UnusableImage, None, None]
"""Images of a file one by one, or the reason why one of them cannot be used."""


def usable(
    pixels: Pixels, gray_values: str = "", *, among: int = 1, origin: Origin = NOWHERE
) -> Picture | UnusableImage:
    """The picture, or why it is none: too small, too long, or all equal (``EmptyFrame`` ``among`` several).

    A slice, which has an ``origin``, is an ``EmptyFrame`` too if it shows nothing but air.
    """
    height, width = pixels.shape[:2]
    if min(width, height) < MIN_SIDE:
        return UnusableImage(f"expected sides of at least {MIN_SIDE} px, got {width}×{height}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        return UnusableImage(f"expected an aspect of at most {MAX_ASPECT:g}, got {width}×{height}")
    if pixels.min() == pixels.max():
        done = f" ({gray_values})" if gray_values else ""
        reason = f"every pixel has the value {int(pixels.min())}{done}: nothing was imaged"
        return EmptyFrame(reason) if among > 1 else UnusableImage(reason)
    if among > 1 and origin is not NOWHERE and np.count_nonzero(pixels >= AIR) < IMAGED * pixels.size:
        return EmptyFrame(f"less than {IMAGED:.0%} of the pixels is brighter than {AIR} of 255: air")
    return Picture(one_channel(pixels) if pixels.ndim == 3 else pixels, gray_values, origin)


def one_channel(rgb: Pixels) -> Pixels:
    """The first channel (H, W) of an image (H, W, 3) whose channels agree, else the image."""
    gray = (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all()
    return np.ascontiguousarray(rgb[..., 0]) if gray else rgb


def check_size(width: int, height: int, frames: int = 1, depth: float = 1) -> None:
    """Raise ``UnusableImage`` for images (``depth`` bytes a pixel) and stacks that would take too much memory."""
    if min(width, height, frames) < 1:
        raise UnusableImage(f"expected at least one pixel and frame, got {width}×{height}, {frames} frames")
    if width * height > MAX_PIXELS:
        raise UnusableImage(f"expected at most {MAX_PIXELS / 1e6:.0f} megapixels, got {width}×{height}")
    if width * height * depth > MAX_BYTES:
        most = f"{MAX_BYTES / depth / 1e6:.0f} megapixels of {depth:g} bytes"
        raise UnusableImage(f"expected at most {most}, got {width}×{height}; store it smaller, or with 8 bits")
    if frames > MAX_FRAMES:
        raise UnusableImage(f"expected at most {MAX_FRAMES} frames, got {frames}; store parts of it")


def eight_bits(values: NDArray[Any]) -> tuple[Pixels, str]:
    """Values of more than 8 bits as uint8 of the same shape, and the rule: a depth, or ``WINDOW`` for others.

    White is 2^8, 2^12 or 2^16 by the 99.9th percentile, so that a hot pixel changes nothing. Between these depths
    (9 to 10 and 13 to 14 bits) white moves on smoothly, so that two images of one scene never differ by a factor.
    """
    sample = values.ravel()[:: max(1, values.size // BLOCK)]
    finite = sample[np.isfinite(sample)] if values.dtype.kind == "f" else sample
    if finite.size == 0:
        raise UnusableImage("no pixel has a finite value")
    top = float(np.percentile(finite, 99.9))
    if values.dtype.kind in "iu" and finite.min() >= 0 and 0 < top < 2**16:
        bits = float(np.interp(math.log2(top + 1), (8, 10, 12, 14), (8, 12, 12, 16)))
        pixels = in_blocks(values, lambda block: np.clip(block * (256 / 2**bits), 0, 255))
        return pixels, f"depth {bits:.3g} bits"
    return stretched(values, *black_and_white([finite])), PERCENTILES


def black_and_white(parts: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """``WINDOW`` of the finite values in some flat arrays; the ends where less than a hundredth shows something."""
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    if values.size == 0:
        raise UnusableImage("no finite voxel or pixel")
    low, high = (float(value) for value in np.percentile(values, WINDOW))
    return (low, high) if low < high else (float(values.min()), float(values.max()))


PERCENTILES = f"percentiles {WINDOW[0]:g}-{WINDOW[1]:g}"


def stretched(
    values: NDArray[Any], low: float, high: float, scaled: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray
) -> Pixels:
    """Values, ``scaled`` before, as uint8, ``low`` black and ``high`` white; NaN is black."""
    scale = high - low if high > low else 1.0
    return in_blocks(values, lambda block: np.rint(np.clip((scaled(block) - low) / scale, 0, 1) * 255))


def in_blocks(values: NDArray[Any], rule: Callable[[NDArray[np.float64]], NDArray[Any]]) -> Pixels:
    """Apply a rule (float64 or complex → 0 to 255, value by value) a block of rows at a time, to bound the memory."""
    out = np.empty(values.shape, np.uint8)
    for rows in blocks(values):
        block = values[rows] if values.dtype.kind == "c" else np.asarray(values[rows], np.float64)
        out[rows] = np.nan_to_num(rule(block), nan=0.0)
    return out


def blocks(values: NDArray[Any]) -> Iterator[slice]:
    """Rows of an array, about ``BLOCK`` values at a time."""
    rows = max(1, BLOCK // max(1, values[:1].size))
    return (slice(start, start + rows) for start in range(0, len(values), rows))


def square_pixels(pixels: Pixels, height: float, width: float, unit: str = " mm") -> tuple[Pixels, str]:
    """Resample to the finer side of pixels of ``height`` and ``width``; what was done, empty for square ones."""
    sizes = np.array([height, width], float)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        return pixels, "pixel size unknown"
    factors = sizes / sizes.min()
    if factors.max() < 1.02:
        return pixels, ""
    said = f"pixels of {height:g}×{width:g}{unit}"
    if factors.max() > MAX_STRETCH:
        return pixels, f"{said} taken for an error"
    rows, cols = (round(side * factor) for side, factor in zip(pixels.shape[:2], factors, strict=True))
    check_size(cols, rows)
    resized = Image.fromarray(pixels).resize((cols, rows), Image.Resampling.BILINEAR)
    return np.asarray(resized), f"{said} resampled"


def joined(*parts: str) -> str:
    """What was done, in one line."""
    return "; ".join(part for part in parts if part)
