"""Fundus photographs in nine slots: the field of view on a 768x768 canvas, flat-fielded or as photographed.

A flat-field form takes the log of each channel minus that of its background and mirrors the eye so that its disc is
left. Its tiles hold the disc's offset, by which statistics of normal eyes, never pixels, are shifted.
"""

from collections.abc import Mapping
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.forms.form import NO_DATA, SCORED, TILE, SlotTile, TileTransform, slots
from pipeline.forms.fundus_landmarks import CANVAS, find_disc, find_field

T = TypeVar("T", bound=np.generic)
GRID = 3  # tiles along a side of the canvas
RANGE = 0.9  # largest log residual (either sign) that a tile can hold; a code is 0.007, a faint lesion about 0.05
BACKGROUND = 164  # canvas px, window of the background's median
SMOOTHING = 20.0  # canvas px, sd of the Gaussian after the median
COARSE = 2  # canvas px per pixel of the background
GREEN = 1  # channel with the strongest contrast of lesions


def encode(residual: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Codes 0..255 of log residuals: ``255 (0.5 + residual / (2 RANGE))`` rounded up from a half, 128 for zero."""
    unit = 0.5 + np.asarray(residual, np.float32) / (2 * RANGE)
    return np.asarray(np.floor(np.clip(unit, 0, 1) * 255 + 0.5), np.uint8)


def flat_field(plane: NDArray[np.float32], validity: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``log((x + 4)/259)`` of one channel (H, W), 0..255, minus the log of its background; zero outside the field."""
    return _residual(np.log((np.maximum(plane, 0) + 4.0) / 259.0).astype(np.float32), validity)


def flattened(canvas: NDArray[np.float32], validity: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Subtract the background again from a flat-field canvas (C, H, W) in [0, 1] that something was added to."""
    again = np.stack([_residual(log, validity) for log in (canvas - 0.5) * 2 * RANGE])
    return np.asarray(np.clip(0.5 + again / (2 * RANGE), 0, 1), np.float32)


def _residual(log: NDArray[np.float32], validity: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``log`` (H, W) minus its background; zero outside the field."""
    return np.asarray(np.where(validity > NO_DATA, log - _background(log, validity == SCORED), 0), np.float32)


def _background(log: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Median of 256 steps, then Gaussian, at half resolution; outside the field its nearest value is used."""
    half = (log.shape[1] // COARSE, log.shape[0] // COARSE)
    small = cv2.resize(log, half, interpolation=cv2.INTER_AREA)
    field = cv2.resize(inside.astype(np.float32), half, interpolation=cv2.INTER_AREA) > 0.99
    rows, cols = ndimage.distance_transform_edt(~field, return_distances=False, return_indices=True)
    filled = small[rows, cols]
    low, high = float(filled.min()), float(filled.max())
    step = max(high - low, 1e-3) / 255
    window = BACKGROUND // COARSE // 2 * 2 + 1
    reach = window // 2
    steps = np.round((filled - low) / step).astype(np.uint8)
    framed = cv2.copyMakeBorder(steps, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    median = cv2.medianBlur(framed, window)[reach:-reach, reach:-reach].astype(np.float32) * step + low
    smooth = cv2.GaussianBlur(median, (0, 0), SMOOTHING / COARSE, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(smooth, log.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


class FundusForm:
    """Green channel, or all three, flat-fielded with the disc left (``flat``) or as photographed."""

    version = 1
    canvases: Mapping[str, tuple[int, int]] = {"field": (GRID, GRID)}

    def __init__(self, *, flat: bool, rgb: bool) -> None:
        self.name = ("flat_field" if flat else "field_of_view") + ("_rgb" if rgb else "")
        self.neutral = 128 if flat else 0
        self.flat = flat
        self.seen = (0, 1, 2) if rgb else (GREEN,)  # channels of the image; a gray one is used for each
        self.channels = len(self.seen)

    def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
        """Nine tiles of (H, W) or (H, W, 3). Raises ``UnusableImage`` if there is no field of view."""
        field = find_field(image)
        validity = field.validity()
        planes = [image if image.ndim == 2 else image[..., channel] for channel in self.seen]
        canvas = np.stack([field.cut(plane.astype(np.float32)) for plane in planes])
        mirrored, offset = False, (0.0, 0.0)
        if self.flat:
            residual = np.stack([flat_field(plane, validity) for plane in canvas])
            disc = find_disc(residual[self.seen.index(GREEN)])
            mirrored, offset = disc.mirrored, disc.offset
            codes = encode(residual)
        else:
            codes = np.clip(np.round(canvas), 0, 255).astype(np.uint8)
        lesions = np.zeros((len(masks), CANVAS, CANVAS), np.bool_)
        for at, mask in enumerate(masks.values()):
            if mask.any():
                lesions[at] = field.cut_mask(mask)
        parts = (np.where(validity > NO_DATA, codes, np.uint8(self.neutral)), validity, lesions)
        grids = (cut_grid(part[..., ::-1] if mirrored else part) for part in parts)
        tiles, scale = [], field.scale
        for slot, pixels, valid, lesion in zip(slots(self.canvases), *grids, strict=True):
            column = CANVAS - 1 - TILE * slot.col if mirrored else TILE * slot.col
            x0, y0 = field.left + (column + 0.5) * scale - 0.5, field.top + (TILE * slot.row + 0.5) * scale - 0.5
            transform = TileTransform(
                field.height, field.width, x0=x0, dx=-scale if mirrored else scale, y0=y0, dy=scale
            )
            tiles.append(SlotTile(slot.name, pixels, valid, lesion, transform, offset))
        return tuple(tiles)


def cut_grid(canvas: NDArray[T]) -> NDArray[T]:
    """Tiles (9, ..., TILE, TILE) of a canvas (..., 3 TILE, 3 TILE), row by row, without overlap or gap."""
    lead = canvas.shape[:-2]
    split = np.moveaxis(canvas.reshape(*lead, GRID, TILE, GRID, TILE), (-4, -2), (0, 1))
    return np.ascontiguousarray(split).reshape(GRID * GRID, *lead, TILE, TILE)
