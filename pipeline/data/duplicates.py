"""Duplicate groups: files that show the same slice, whether flipped, sharpened, brightened, cropped or re-encoded.

Plain correlation misses sharpened copies and perceptual hashes miss crops, so any of three signs is enough.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, sparse
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

Gray = NDArray[np.uint8]
Labels = NDArray[np.int64]
FLIPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))  # steps along rows and columns: unchanged, mirrored, upside down, both
LONGEST = 512  # px, longest side of the copies that are compared
DARK = 0.15  # share of the brightness range below which a row or column is frame


@dataclass(frozen=True, kw_only=True)
class DuplicateRule:
    """When two images show the same thing; any sign is enough, in any of the four flips."""

    high_pass: float = 0.70  # correlation of the high-passed crop at 64 px, above
    plain: float = 0.95  # correlation of the crop at 32 px, above
    hash_bits: int = 6  # differing bits of 64 in the perceptual hash, at most
    sigma: float = 3.0  # px at 64 px: the Gaussian that the high pass subtracts


class Look(NamedTuple):
    """What an image is compared by."""

    high: NDArray[np.float32]  # (64, 64), high-passed crop, a unit vector
    plain: NDArray[np.float32]  # (32, 32), crop, a unit vector
    bits: NDArray[np.int8]  # (4, 64), perceptual hashes of the crop in ``FLIPS`` as ±1


def look_of(pixels: NDArray[np.uint8], middle: float, rule: DuplicateRule) -> Look:
    """The look of an image's ``middle`` share of each side."""
    crop = _content(_small_gray(pixels, middle))
    large = _resized(crop, 64)
    high = _unit(large - ndimage.gaussian_filter(large, rule.sigma))
    return Look(high, _unit(_resized(crop, 32)), np.array([_bits(crop[::y, ::x]) for y, x in FLIPS]))


def duplicate_groups(looks: Sequence[Look], progress: bool = False, rule: DuplicateRule | None = None) -> Labels:
    """Label of the duplicate group of each image, counted from 0."""
    pairs = np.array(list(near_duplicates(looks, progress, rule)), np.int64).reshape(-1, 2)
    graph = sparse.coo_array((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(len(looks), len(looks)))
    # Groups are connected components: two images that do not match directly may both match a third.
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def near_duplicates(
    looks: Sequence[Look], progress: bool = False, rule: DuplicateRule | None = None, rows: int = 512
) -> Iterator[tuple[int, int]]:
    """Pairs i < j of images that show the same thing; blocks of ``rows`` bound the memory."""
    rule = rule or DuplicateRule()
    starts = range(0, len(looks), rows)
    with tqdm(total=len(starts), desc="duplicate groups", disable=not progress, leave=False) as bar:
        for start in starts:
            left = looks[start : start + rows]
            mine = [_flat(part) for part in ([each.high for each in left], [each.plain for each in left])]
            for other in range(start, len(looks), rows):
                right = looks[other : other + rows]
                alike = np.zeros((len(left), len(right)), bool)
                # Only one side is flipped: a flip of both changes neither correlation.
                for flip, (y, x) in enumerate(FLIPS):
                    high = mine[0] @ _flat([look.high[::y, ::x] for look in right]).T
                    plain = mine[1] @ _flat([look.plain[::y, ::x] for look in right]).T
                    # The hash of a flip is its own, so either side is flipped.
                    same = np.maximum(_same_bits(left, right, 0, flip), _same_bits(left, right, flip, 0))
                    alike |= (high > rule.high_pass) | (plain > rule.plain) | ((64 - same) / 2 <= rule.hash_bits + 0.5)
                found = ((start + int(i), other + int(j)) for i, j in np.argwhere(alike))
                yield from ((i, j) for i, j in found if i < j)
            bar.update()


def _flat(planes: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    return np.array(planes, np.float32).reshape(len(planes), -1)


def _same_bits(left: Sequence[Look], right: Sequence[Look], flip: int, other: int) -> NDArray[np.float32]:
    """Equal less differing bits (left, right) of the hashes of one flip and of another."""
    return _flat([look.bits[flip] for look in left]) @ _flat([look.bits[other] for look in right]).T


def _bits(gray: Gray) -> NDArray[np.int8]:
    """Perceptual hash (64,) of a crop as ±1."""
    return np.where(imagehash.phash(Image.fromarray(np.ascontiguousarray(gray))).hash.ravel(), 1, -1).astype(np.int8)


def _small_gray(pixels: NDArray[np.uint8], middle: float) -> Gray:
    """Gray copy (H, W): the middle share of each side, scaled to at most ``LONGEST`` px."""
    rows, cols = (round(side * (1 - middle) / 2) for side in pixels.shape[:2])
    pixels = pixels[rows : pixels.shape[0] - rows, cols : pixels.shape[1] - cols]
    gray = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if (scale := LONGEST / max(gray.shape)) < 1:
        size = [max(1, round(side * scale)) for side in gray.shape[::-1]]
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return np.asarray(gray, np.uint8)


def _content(image: Gray) -> Gray:
    """Crop without the dark frame: rows and columns whose brightest smoothed pixel is above ``DARK`` of the range."""
    smooth = cv2.blur(image, (5, 5)).astype(np.float32)
    low, high = np.percentile(smooth, (1, 99))
    bright = smooth > low + DARK * (high - low)
    if not bright.any():
        return image
    rows, cols = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    return image[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]


def _resized(image: Gray, side: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean 0 and length 1, so that a product is a correlation; a flat image becomes zeros."""
    centred = values - values.mean()
    length = float(np.linalg.norm(centred))
    return np.asarray(centred / length if length > 1e-3 else np.zeros_like(centred), np.float32)
