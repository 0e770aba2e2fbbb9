"""Line-blob maps: dark or bright spots of a picture or a residual that are not lines, found without training.

A closing by a line in a vessel's direction leaves the vessel dark, while a blob shorter than the line is filled in
every direction. Black part: minimum over orientations of the closing by a line, minus the image. Bright part: the image
minus the maximum of the openings. Legend as in ``models.scoring``.
"""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

ORIENTATIONS = 10

NEUTRAL = 128 / 255
"""Code of a residual of zero, used where nothing was imaged."""


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


def line_blob_maps(residual: Array, inside: NDArray[np.bool_], lengths: Sequence[int]) -> Array:
    """Black and bright maps (2 · lengths, H, W), ≥ 0, of a signed residual (H, W) in [-0.5, 0.5]; 0 where not inside.

    The residual is rounded to steps of 1/255, as tiles are stored; the maps have its units.
    """
    codes = np.floor(np.clip(np.where(inside, residual + NEUTRAL, NEUTRAL), 0, 1) * 255 + 0.5).astype(np.uint8)
    found: list[NDArray[np.uint8]] = []
    for length in lengths:
        closed = np.min([cv2.morphologyEx(codes, cv2.MORPH_CLOSE, line) for line in _lines(length)], axis=0)
        opened = np.max([cv2.morphologyEx(codes, cv2.MORPH_OPEN, line) for line in _lines(length)], axis=0)
        found += [closed - codes, codes - opened]
    return np.stack(found).astype(np.float32) * np.float32(1 / 255) * inside
