"""Duplicate groups: files that show the same slice, whether flipped, sharpened, brightened, cropped or re-encoded.

Plain correlation misses sharpened copies and perceptual hashes miss crops, so any of three signs is enough.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, sparse
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

Gray = NDArray[np.uint8]
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


Prints = tuple[NDArray[np.float32], ...]
"""What images are compared by: unit vectors (n, 64·64) and (n, 32·32), hash bits ±1 (n, 64)."""


def small_gray(pixels: NDArray[np.uint8], middle: float) -> Gray:
    """Gray copy (H, W) to compare: the middle share of each side, scaled to at most ``LONGEST`` px."""
    rows, cols = (round(side * (1 - middle) / 2) for side in pixels.shape[:2])
    pixels = pixels[rows : pixels.shape[0] - rows, cols : pixels.shape[1] - cols]
    gray = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if (scale := LONGEST / max(gray.shape)) < 1:
        size = [max(1, round(side * scale)) for side in gray.shape[::-1]]
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return np.asarray(gray, np.uint8)


def duplicate_groups(
    images: Sequence[Gray], progress: bool = False, rule: DuplicateRule | None = None
) -> NDArray[np.int64]:
    """Label of the duplicate group of each uint8 (H, W) image, counted from 0."""
    pairs = np.array(list(near_duplicates(images, progress, rule)), np.int64).reshape(-1, 2)
    graph = sparse.coo_array((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(len(images), len(images)))
    # Groups are connected components: two images that do not match directly may both match a third.
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def near_duplicates(
    images: Sequence[Gray], progress: bool = False, rule: DuplicateRule | None = None, rows: int = 512
) -> Iterator[tuple[int, int]]:
    """Pairs of indices of images that show the same thing, itself included; ``rows`` at a time bound the memory."""
    rule = rule or DuplicateRule()
    left = _prints(images, (1, 1), rule)
    # Only one side is flipped: a flip of both changes neither correlation.
    for flip in tqdm(FLIPS, desc="duplicate groups", disable=not progress, leave=False):
        right = left if flip == (1, 1) else _prints(images, flip, rule)
        for start in range(0, len(images), rows):
            high, plain, bits = (
                mine[start : start + rows] @ theirs.T for mine, theirs in zip(left, right, strict=True)
            )
            alike = (high > rule.high_pass) | (plain > rule.plain) | ((64 - bits) / 2 <= rule.hash_bits + 0.5)
            yield from ((start + int(i), int(j)) for i, j in np.argwhere(alike))


def _prints(images: Sequence[Gray], flip: tuple[int, int], rule: DuplicateRule) -> Prints:
    high, plain, bits = [], [], []
    for image in images:
        crop = np.ascontiguousarray(_content(image)[:: flip[0], :: flip[1]])
        large = _resized(crop, 64)
        high.append(_unit(large - ndimage.gaussian_filter(large, rule.sigma)))
        plain.append(_unit(_resized(crop, 32)))
        bits.append(np.where(imagehash.phash(Image.fromarray(crop)).hash.ravel(), 1, -1))
    sized = zip((high, plain, bits), (64 * 64, 32 * 32, 64), strict=True)
    return tuple(np.array(part, np.float32).reshape(len(images), size) for part, size in sized)


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
    """Flat vector of mean 0 and length 1, so that a product is a correlation; a flat image becomes zeros."""
    centred = (values - values.mean()).ravel()
    length = float(np.linalg.norm(centred))
    return np.asarray(centred / length if length > 1e-3 else np.zeros_like(centred), np.float32)
