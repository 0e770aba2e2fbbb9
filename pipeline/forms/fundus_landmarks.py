"""Landmarks of a fundus image: the round field of view, with a square canvas around it, and the optic disc on it.

The square is as wide as the field, so that a lesion has the same size on the canvas for every camera resolution.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnusableImage
from pipeline.forms.form import NO_DATA, SCORED, SEEN

CANVAS = 768  # px, side of the canvas: three tiles
RIM = 4  # canvas px, width of the rim that is SEEN but not SCORED
SMALLEST = 64  # px; narrower fields cannot show a lesion
DARKEST = 24  # least brightness (0..255) of the field's brightest percent
SHARE = 0.05  # least share of the image area that the field fills
SEARCHED = 720  # px, longer side at which the field is searched
SUBPIXEL = 4  # fractional bits of polygon corners

REFERENCE = (376.0, 186.0)
"""Row and column (canvas px) of the disc's usual place in an eye whose disc is left; offsets are relative to it."""
COARSE = 4  # canvas px per pixel of the search for the disc
DISC = 52.0  # canvas px, radius of the bright template
FOVEA = 48.0  # canvas px, radius of the dark template
FOVEA_AT = (24, 272)  # canvas px, rows and columns from disc to fovea
FOVEA_WEIGHT = 0.7
SPREAD = (60.0, 80.0)  # canvas px, width of the position prior in rows and columns
PRIOR_WEIGHT = 0.2  # of the position prior; its tails are heavy because some photographs are centred on the disc


@dataclass(frozen=True, kw_only=True)
class Field:
    """The field of view in one image. Its square (``left``, ``top``, ``side``) may extend beyond the image."""

    height: int  # of the image, px
    width: int
    left: int  # image px
    top: int  # image px, negative if the camera cuts the field off
    side: int  # image px
    outline: NDArray[np.float32]  # (k, 2) polygon, x and y in image px

    @property
    def scale(self) -> float:
        """Image pixels per canvas pixel."""
        return self.side / CANVAS

    def cut(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Area means of (H, W) or (H, W, C) on the canvas; beyond the image, which is NO_DATA, its border repeats."""
        y0, y1 = max(self.top, 0), min(self.top + self.side, self.height)
        x0, x1 = max(self.left, 0), min(self.left + self.side, self.width)
        beyond = (y0 - self.top, self.top + self.side - y1, x0 - self.left, self.left + self.side - x1)
        square = cv2.copyMakeBorder(plane[y0:y1, x0:x1], *beyond, cv2.BORDER_REPLICATE)
        how = cv2.INTER_AREA if self.side >= CANVAS else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(square, (CANVAS, CANVAS), interpolation=how), np.float32)

    def validity(self) -> NDArray[np.uint8]:
        """Codes (CANVAS, CANVAS): SCORED in the field without its rim, SEEN in the rim, NO_DATA outside."""
        corner = np.array([self.left, self.top], np.float32)
        polygon = (self.outline + 0.5 - corner) / self.scale - 0.5
        fixed = np.round(polygon * 2**SUBPIXEL).astype(np.int32)
        inside = np.zeros((CANVAS, CANVAS), np.uint8)
        cv2.fillPoly(inside, [fixed], 1, cv2.LINE_8, SUBPIXEL)
        framed = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        depth = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1]
        codes = np.full((CANVAS, CANVAS), NO_DATA, np.uint8)
        codes[inside > 0] = SEEN
        codes[depth > RIM] = SCORED
        return codes

    def cut_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A lesion mask (H, W) on the canvas: True where at least half of the area is covered."""
        return np.asarray((self.cut(mask.astype(np.float32)) >= 0.5) & (self.validity() > NO_DATA), np.bool_)


def find_field(image: NDArray[np.uint8]) -> Field:
    """The largest bright region of (H, W) or (H, W, 3), filled; ``UnusableImage`` if it is dark or too small."""
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST:
        raise UnusableImage(f"fundus image of {height}x{width} px: at least {SMALLEST}x{SMALLEST} are needed")
    factor = max(1.0, max(height, width) / SEARCHED)
    size = (round(width / factor), round(height / factor))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bright = cv2.GaussianBlur(small.max(axis=2) if small.ndim == 3 else small, (0, 0), 1.0)
    if np.percentile(bright, 99) < DARKEST:
        raise UnusableImage(f"no field of view: 99 % of the image are darker than {DARKEST} of 255")
    otsu, _ = cv2.threshold(bright, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    region = _largest((bright > max(otsu / 3, 8)).astype(np.uint8))
    if region.mean() < SHARE:
        raise UnusableImage(f"no field of view: the largest bright region fills {region.mean():.1%} of the image")
    contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=cv2.contourArea)[:, 0].astype(np.float32)
    pixel = np.array([width / size[0], height / size[1]], np.float32)  # image px
    outline = (outline + 0.5) * pixel - 0.5
    low, high = outline.min(axis=0) - pixel / 2 + 0.5, outline.max(axis=0) + pixel / 2 + 0.5
    side = round(float(high[0] - low[0]))
    if side < SMALLEST:
        raise UnusableImage(f"field of view of {side} px width: at least {SMALLEST} are needed")
    left, top = round(float(low[0])), round(float(low[1] + high[1]) / 2 - side / 2)
    return Field(height=height, width=width, left=left, top=top, side=side, outline=outline)


def _largest(bright: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest component of a 0/1 image, without thin attachments such as print and reflections."""
    framed = cv2.copyMakeBorder(bright, 8, 8, 8, 8, cv2.BORDER_REPLICATE)
    opened = cv2.morphologyEx(framed, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))[8:-8, 8:-8]
    _, labels, table, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(opened))
    if len(table) == 1:
        return np.zeros_like(bright)
    return np.asarray(labels == 1 + int(np.argmax(table[1:, cv2.CC_STAT_AREA])), np.uint8)


@dataclass(frozen=True, kw_only=True)
class Disc:
    """The disc's centre on the canvas *after* mirroring, and how well it fits."""

    row: float  # canvas px
    col: float
    mirrored: bool
    fit: float  # correlation and prior; below about 0.3 the place is mostly that of the prior

    @property
    def offset(self) -> tuple[float, float]:
        """Rows and columns (canvas px) from the reference to this disc."""
        return self.row - REFERENCE[0], self.col - REFERENCE[1]


def find_disc(flat: NDArray[np.float32]) -> Disc:
    """The better of both mirrorings of a flattened canvas (H, W), by bright disc, dark fovea and their usual places."""
    height, width = flat.shape
    small = cv2.resize(flat, (width // COARSE, height // COARSE), interpolation=cv2.INTER_AREA)
    clipped = np.clip(small, -0.6, 0.6).astype(np.float32)
    candidates = _best(clipped, False), _best(np.ascontiguousarray(clipped[:, ::-1]), True)
    return max(candidates, key=lambda disc: disc.fit)


def _best(small: NDArray[np.float32], mirrored: bool) -> Disc:
    """The highest place of correlation and prior for an eye whose disc is left."""
    bright = _correlate(small, DISC / COARSE)
    dark = cv2.GaussianBlur(-_correlate(small, FOVEA / COARSE), (0, 0), 3.0)
    rows, cols = FOVEA_AT[0] // COARSE, FOVEA_AT[1] // COARSE
    fovea = np.zeros_like(dark)
    fovea[: dark.shape[0] - rows, : dark.shape[1] - cols] = dark[rows:, cols:]
    y, x = np.mgrid[: small.shape[0], : small.shape[1]].astype(np.float32) * COARSE + (COARSE - 1) / 2
    away = ((y - REFERENCE[0]) / SPREAD[0]) ** 2 + ((x - REFERENCE[1]) / SPREAD[1]) ** 2
    fit = bright + FOVEA_WEIGHT * fovea - PRIOR_WEIGHT * np.log1p(away / 2)
    row, col = np.unravel_index(int(np.argmax(fit)), fit.shape)
    return Disc(row=float(y[row, col]), col=float(x[row, col]), mirrored=mirrored, fit=float(fit[row, col]))


def _correlate(small: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """Correlation -1..1 of every place with a soft bright disc inside a ring of the same area and more."""
    reach = round(1.7 * radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    template = (1 / (1 + np.exp((np.hypot(y, x) - radius) / 1.5))).astype(np.float32)
    framed = cv2.copyMakeBorder(small, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=0)
    covariance = cv2.matchTemplate(framed, template, cv2.TM_CCOEFF)
    box = (2 * reach + 1, 2 * reach + 1)
    mean, square = cv2.blur(framed, box), cv2.sqrBoxFilter(framed, cv2.CV_32F, box)
    spread = np.sqrt(np.maximum(square - mean**2, 0))[reach:-reach, reach:-reach]
    floor = 0.03  # spread of a featureless retina, log units: keeps noise from correlating
    return np.asarray(covariance / (template.size * template.std() * (spread + floor)), np.float32)
