"""The inner head: one tile in which brains have the same place and scale, whatever the file's size, frame or window.

The intensity unit is the spread inside the brain, so that scalp and skull affect neither the scale nor the score.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from pipeline.errors import UnusableImage
from pipeline.forms.form import NO_DATA, SCORED, SEEN, TILE, SlotTile, TileTransform

Gray = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]  # rows and columns of the original image

FINDER_SIDE = 192  # px, longer side at which the head is searched
FINDER_SIGMA = 1.5  # px at that side
OTSU_SHARE = 0.7  # of Otsu's threshold on the square root of brightness
BORDER_SHARE = 0.04  # of a side: how deep bright border lines are searched
BORDER_LEVEL = 100  # gray value; a border line with a higher median is not anatomy
CLOSING = 4  # px at the finder's side, radius
INNER_SHARE = 0.08  # of the tile's side: erosion that excludes scalp and skull
LIMIT = 4.0  # robust sd; z = ±LIMIT become 0 and 255
SMALLEST_SIDE = 32  # px of image and head box
SMALLEST_HEAD = 0.08  # share of the image's area


class InnerHeadForm:
    """Head box stretched to the tile, brightness in robust units of the inner head."""

    name = "inner_head"
    version = 1
    canvases: Mapping[str, tuple[int, int]] = {"head": (1, 1)}
    channels = 1
    neutral = 128  # the inner head's median

    def cut(self, image: Gray, masks: Mapping[str, Mask]) -> tuple[SlotTile, ...]:
        """One tile of the head; raises ``UnusableImage`` if there is no head or the brain has one flat value."""
        gray = image if image.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2GRAY)
        head = find_head(np.asarray(gray, np.uint8))
        box = ndimage.find_objects(head.astype(np.uint8))[0]
        height, width = head[box].shape
        if min(height, width) < SMALLEST_SIDE:
            got = f"{width}×{height} px"
            raise UnusableImage(f"no head: the brightest region is only {got}, expected {SMALLEST_SIDE} px a side")
        tile_head = to_tile(head.astype(np.float32), box) >= 0.5
        # pixels farther than this from everything outside the head; beyond the tile is outside
        inner = ndimage.distance_transform_edt(np.pad(tile_head, 1))[1:-1, 1:-1] > INNER_SHARE * TILE
        if inner.sum() < 0.05 * TILE * TILE:
            raise UnusableImage("no head: the region found is too thin to hold a brain; look at the file")
        scaled = robust_units(to_tile(np.asarray(gray, np.float32), box), inner)
        pixels = np.rint((np.clip(scaled, -LIMIT, LIMIT) + LIMIT) / (2 * LIMIT) * 255)
        pixels[~tile_head] = self.neutral
        validity = np.where(inner, SCORED, np.where(tile_head, SEEN, NO_DATA)).astype(np.uint8)
        lesions = [to_tile(mask.astype(np.float32), box) >= 0.5 for mask in masks.values()]
        dy, dx = height / TILE, width / TILE
        y0, x0 = (side.start + step / 2 - 0.5 for side, step in zip(box, (dy, dx), strict=True))
        marked = np.array(lesions, bool).reshape(len(lesions), TILE, TILE)
        transform = TileTransform(gray.shape[0], gray.shape[1], x0=x0, dx=dx, y0=y0, dy=dy)
        return (SlotTile("head", pixels.astype(np.uint8)[None], validity, marked, transform),)


def find_head(gray: Gray) -> Mask:
    """(H, W) mask of the head: the largest bright region without the frame's lines, closed and filled."""
    height, width = gray.shape
    if min(height, width) < SMALLEST_SIDE:
        raise UnusableImage(f"image of {width}×{height} px, expected at least {SMALLEST_SIDE} px a side")
    frame = inside_border_lines(gray)
    content = gray[frame]
    scale = FINDER_SIDE / max(content.shape)
    size = [max(1, round(side * scale)) for side in content.shape[::-1]]
    small = cv2.resize(content, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    smooth = np.sqrt(ndimage.gaussian_filter(small.astype(np.float32), FINDER_SIGMA))
    if smooth.max() - smooth.min() < 1.0:  # in square roots of gray values: a uniform image
        raise UnusableImage(f"blank image: gray values {gray.min()}…{gray.max()}, expected a head on a dark background")
    labels, _ = ndimage.label(smooth > OTSU_SHARE * threshold_otsu(smooth))
    largest = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * CLOSING + 1, 2 * CLOSING + 1))
    closed = cv2.morphologyEx(np.pad(largest.astype(np.uint8), CLOSING), cv2.MORPH_CLOSE, disc)
    region = ndimage.binary_fill_holes(closed[CLOSING:-CLOSING, CLOSING:-CLOSING])
    if region.mean() < SMALLEST_HEAD:
        raise UnusableImage(f"no head: largest bright region is {region.mean():.1%} of the image")
    head = np.zeros(gray.shape, bool)
    head[frame] = cv2.resize(region.astype(np.float32), content.shape[::-1], interpolation=cv2.INTER_LINEAR) >= 0.5
    return head


def inside_border_lines(gray: Gray) -> Box:
    """The image without bright lines along its border (scanner frames, screenshots)."""

    def bright(line: NDArray[np.bool_]) -> int:
        depth = max(2, round(BORDER_SHARE * len(line)))
        found = np.flatnonzero(line[:depth])
        # lines that are bright to the full depth are anatomy or a bright background, which stripping would not remove
        return 0 if found.size in (0, depth) else int(found[-1]) + 1

    rows, cols = (
        slice(bright(line), len(line) - bright(line[::-1]))
        for line in (np.median(gray, axis=axis) > BORDER_LEVEL for axis in (1, 0))
    )
    return rows, cols


def to_tile(values: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """Stretch a box of (H, W) values to (TILE, TILE): area means where it shrinks, linear where it grows."""
    crop = np.ascontiguousarray(values[box])
    for axis in (0, 1):
        size = (TILE, crop.shape[0]) if axis else (crop.shape[1], TILE)
        way = cv2.INTER_AREA if crop.shape[axis] > TILE else cv2.INTER_LINEAR
        crop = cv2.resize(crop, size, interpolation=way).astype(np.float32)
    return crop


def robust_units(values: NDArray[np.float32], inner: Mask) -> NDArray[np.float32]:
    """Distance from the inner median in units of the normal-consistent MAD there."""
    inside = values[inner]
    median = np.median(inside)
    spread = 1.4826 * float(np.median(np.abs(inside - median)))
    if spread < 0.5:  # gray values, less than one quantisation step
        raise UnusableImage(f"flat head: median absolute deviation {spread / 1.4826:.2f} gray values")
    return np.asarray((values - median) / spread, np.float32)
