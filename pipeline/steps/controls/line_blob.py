"""Line-blob maps of fundus canvases: what is dark or bright and no line, found without any training.

A vessel is longer than a line laid along it, so a closing by a line in the vessel's direction leaves it dark, while a
blob shorter than the line is filled in every direction. Black part: minimum over orientations of the closing by a line,
minus the image. Bright part: the image minus the maximum of the openings. Legend as in ``models.scoring``.
"""

from collections.abc import Iterator
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

LENGTHS = (17, 33, 34, 66, 132)
"""Lengths of the lines, canvas px."""

ORIENTATIONS = 10

PARTS = 2 * len(LENGTHS) + 2
"""Maps an image: black and bright of every length, then the bright and the dark part of the residual itself."""

NEUTRAL = 128 / 255
"""Canvas value of a residual of zero, written where nothing was imaged."""


@cache
def _lines(length: int) -> tuple[NDArray[np.uint8], ...]:
    """Centred lines of ``length`` px in ORIENTATIONS directions, as 0/1 structuring elements of odd size."""
    reach = (length - 1) / 2
    half = int(np.ceil(reach))
    elements = []
    for turn in np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS:
        element = np.zeros((2 * half + 1, 2 * half + 1), np.uint8)
        longer = max(abs(np.cos(turn)), abs(np.sin(turn)))  # one pixel a step along the longer axis
        steps = np.arange(-int(reach * longer), int(reach * longer) + 1) / longer
        element[half + np.rint(steps * np.sin(turn)).astype(int), half + np.rint(steps * np.cos(turn)).astype(int)] = 1
        elements.append(element)
    return tuple(elements)


def iterate_line_blob(canvas: Array, mask: NDArray[np.bool_]) -> Iterator[Array]:
    """Maps (PARTS, H, W) image by image, so that memory holds one image's maps.

    ``canvas`` (m, H, W) is in 0..1 and is taken in steps of 1/255 (as tiles are stored); ``mask`` (m, H, W) or (H, W)
    says where the eye was imaged. Values are >= 0 in canvas units and 0 outside the mask.
    """
    masks = np.broadcast_to(mask, canvas.shape)
    for image, inside in zip(canvas, masks, strict=True):
        values = np.where(inside, image, NEUTRAL)
        codes = np.floor(np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
        found = np.empty((PARTS, *codes.shape), np.float32)
        for at, length in enumerate(LENGTHS):
            found[2 * at], found[2 * at + 1] = _black_and_bright(codes, length)
        signed = values - NEUTRAL
        found[-2], found[-1] = np.maximum(signed, 0), np.maximum(-signed, 0)
        found[:, ~inside] = 0
        yield found


def line_blob_maps(canvas: Array, mask: NDArray[np.bool_]) -> Array:
    """All maps (m, PARTS, H, W) at once; see ``iterate_line_blob``."""
    return np.stack(list(iterate_line_blob(canvas, mask)))


def _black_and_bright(codes: NDArray[np.uint8], length: int) -> tuple[Array, Array]:
    """Black and bright part (H, W) in canvas units for lines of one length."""
    closed = np.full_like(codes, 255)
    opened = np.zeros_like(codes)
    for line in _lines(length):
        np.minimum(closed, cv2.morphologyEx(codes, cv2.MORPH_CLOSE, line), out=closed)
        np.maximum(opened, cv2.morphologyEx(codes, cv2.MORPH_OPEN, line), out=opened)
    unit = np.float32(1 / 255)
    return (closed - codes).astype(np.float32) * unit, (codes - opened).astype(np.float32) * unit


def median_residual(canvas: Array, size: int = 61) -> Array:
    """Signed difference (m, H, W) of canvases in 0..1 and their median in a window of ``size`` px (odd).

    The median is taken in steps of 1/255. Raises ``ValueError`` for an even size.
    """
    if size % 2 == 0:
        raise ValueError(f"median window: expected an odd number of px, got {size}")
    codes = np.floor(np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)
    medians = np.stack([cv2.medianBlur(image, size) for image in codes])
    return (canvas - medians.astype(np.float32) / 255).astype(np.float32)
