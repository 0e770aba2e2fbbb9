"""Bring the maps of canvases back to the image: heat map, regions, overlay.

Legend: h, w px of the heat map, which covers the whole image at its own size or smaller; heat in sd of normals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from scipy import ndimage

from models.scoring import Array, Mask
from pipeline.detectors.frozen.calibration import Calibration
from pipeline.detectors.images import enlarge
from pipeline.detectors.standardise import HEAT_RANGE
from pipeline.forms.form import TILE, SlotTile, slots

FAINT = 1.5  # heat below which the overlay shows only the image
STRONGEST = 0.6  # opacity of the hottest colour: the image stays visible
LEGEND = 36  # px, height of the strip below an overlay
HATCH = 12  # px between stripes where nothing was looked at
DIMMED = np.rint(0.45 * np.arange(256)).astype(np.uint8)  # gray value there
STRIPE = 110  # gray value of a stripe
SMALLEST = 4  # px of the heat map, area of a region
COLOURS: Array = np.asarray(colormaps["inferno"](np.arange(256))[:, :3] * 255, np.float32)
"""Colours of the heat, coldest first."""


@dataclass(frozen=True)
class Region:
    """A connected region whose heat is above the threshold; px of the original image."""

    x: int  # left, top, width and height of its box
    y: int
    width: int
    height: int
    area: float  # px
    peak: float  # heat
    mean: float
    peak_x: int
    peak_y: int
    false_alarm_rate: float  # share of normal images whose hottest place is as hot


def paint(
    tiles: Sequence[SlotTile],
    canvases: Mapping[str, tuple[int, int]],
    maps: Mapping[str, Array],
    longest: int | None = None,
) -> Array:
    """Heat (h, w) over the original image, NaN outside the tiles; the hotter one where canvases overlap."""
    shape = tiles[0].transform
    step = 1.0 if longest is None else max(1.0, max(shape.height, shape.width) / longest)
    painted = np.full((max(1, round(shape.height / step)), max(1, round(shape.width / step))), np.nan, np.float32)
    full = {
        name: enlarge(np.asarray(maps[name], np.float32), (rows * TILE, cols * TILE))
        for name, (rows, cols) in canvases.items()
    }
    for tile, slot in zip(tiles, slots(dict(canvases)), strict=True):
        top, left = slot.row * TILE, slot.col * TILE
        part = full[slot.canvas][top : top + TILE, left : left + TILE]
        painted = np.fmax(painted, tile.transform.paint(part, painted.shape))
    return painted


def regions(heat: Array, size: tuple[int, int], threshold: float, peaks: Calibration) -> tuple[Region, ...]:
    """Connected regions of heat (h, w) above ``threshold``, hottest first; ``size`` (H, W) is the original image's."""
    labels, _ = ndimage.label(np.nan_to_num(heat, nan=-np.inf) > threshold, np.ones((3, 3)))
    down, right = size[0] / heat.shape[0], size[1] / heat.shape[1]
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[box] == number
        if inside.sum() < SMALLEST:
            continue
        values = np.where(inside, heat[box], -np.inf)
        row, col = np.unravel_index(int(values.argmax()), values.shape)
        peak = float(values.max())
        found.append(
            Region(
                x=round(box[1].start * right),
                y=round(box[0].start * down),
                width=max(1, round((box[1].stop - box[1].start) * right)),
                height=max(1, round((box[0].stop - box[0].start) * down)),
                area=float(inside.sum() * down * right),
                peak=peak,
                mean=float(values[inside].mean()),
                peak_x=int((box[1].start + col + 0.5) * right),
                peak_y=int((box[0].start + row + 0.5) * down),
                false_alarm_rate=peaks.rate(peak),
            )
        )
    return tuple(sorted(found, key=lambda region: -region.peak))


def overlay(pixels: NDArray[np.uint8], heat: Array, threshold: float, text: str) -> bytes:
    """PNG of the image at the heat map's size, coloured where it is hot, regions outlined; below, scale and text.

    Where the heat is NaN, outside all tiles, the image is dark and hatched.
    """
    height, width = heat.shape
    image = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    base = np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image
    unseen, values = np.isnan(heat), np.nan_to_num(heat, nan=0.0)
    base = hatched(base, unseen)
    hot = values > FAINT
    strength = np.minimum((values[hot] - FAINT) / (HEAT_RANGE[1] / 2 - FAINT), STRONGEST)[:, None]
    shown = np.ascontiguousarray(base, np.uint8)
    shown[hot] = np.rint(shown[hot] * (1 - strength) + heat_colours(values[hot]) * strength)
    contours, _ = cv2.findContours((values > threshold).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, contours, -1, (90, 220, 255), 1)
    ok, png = cv2.imencode(
        ".png", cv2.cvtColor(np.vstack([shown, _legend(width, text, float(unseen.mean()))]), cv2.COLOR_RGB2BGR)
    )
    if not ok:
        raise ValueError(f"overlay of {width}×{height} px: the PNG encoder failed")
    return png.tobytes()


def hatched(picture: NDArray[Any], unseen: Mask) -> NDArray[np.uint8]:
    """The picture (h, w, 3), dark and with diagonal stripes where nothing was looked at."""
    shown = np.array(picture, np.uint8)
    cv2.copyTo(cv2.LUT(shown, DIMMED), unseen.astype(np.uint8), shown)
    rows, cols = (np.arange(side, dtype=np.uint16) for side in unseen.shape)
    shown[(np.add.outer(rows, cols) % HATCH == 0) & unseen] = STRIPE
    return shown


def _legend(width: int, text: str, unseen: float) -> NDArray[np.uint8]:
    """The colour scale, the text, and the share of the image that is hatched."""
    strip = np.full((LEGEND, width, 3), 20, np.uint8)
    bar = min(120, width // 4)
    scale = np.linspace(*HEAT_RANGE, bar, dtype=np.float32)[None].repeat(12, 0)
    strip[12:24, 30 : 30 + bar] = np.rint(heat_colours(scale))
    font, colour = cv2.FONT_HERSHEY_SIMPLEX, (230, 230, 230)
    cv2.putText(strip, f"{HEAT_RANGE[0]:g}", (10, 23), font, 0.4, colour, 1, cv2.LINE_AA)
    cv2.putText(strip, f"{HEAT_RANGE[1]:g} sd", (36 + bar, 23), font, 0.4, colour, 1, cv2.LINE_AA)
    hatched = f"hatched: not looked at ({unseen:.0%}), " if unseen else ""
    for row, line in ((15, text), (30, f"{hatched}research only")):
        cv2.putText(strip, line, (90 + bar, row), font, 0.4, colour, 1, cv2.LINE_AA)
    return strip


def heat_colours(values: Array) -> Array:
    """Heat of any shape as colours (…, 3) of 0 to 255 on the fixed ``HEAT_RANGE``."""
    low, high = HEAT_RANGE
    level = np.clip((values - low) * (len(COLOURS) / (high - low)), 0, len(COLOURS) - 1)
    return np.asarray(COLOURS[level.astype(np.intp)])
