"""Find the optic disc on a flat-field fundus canvas, and whether the eye must be mirrored.

A bright round template is correlated with the canvas, and a dark one at the fovea's usual distance. The second makes
both mirrorings differ even if the disc lies in the middle. Both templates are drawn, not learned.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

REFERENCE = (376.0, 186.0)
"""Row and column (canvas px) of the disc's usual place in an eye whose disc is left; offsets are relative to it."""

COARSE = 4  # canvas px per pixel of the search
DISC = 52.0  # canvas px, radius of the bright template
FOVEA = 48.0  # canvas px, radius of the dark template
FOVEA_AT = (24, 272)  # canvas px, rows and columns from disc to fovea
FOVEA_WEIGHT = 0.7
SPREAD = (60.0, 80.0)  # canvas px, width of the position prior in rows and columns
PRIOR_WEIGHT = 0.2  # of the position prior; its tails are heavy because some photographs are centred on the disc


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
    """The better of both mirrorings of a flattened canvas (H, W), zero where there is no data."""
    height, width = flat.shape
    small = cv2.resize(flat, (width // COARSE, height // COARSE), interpolation=cv2.INTER_AREA)
    clipped = np.clip(small, -0.6, 0.6).astype(np.float32)
    candidates = [_best(clipped, False), _best(np.ascontiguousarray(clipped[:, ::-1]), True)]
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
    found: NDArray[np.float32] = covariance / (template.size * template.std() * (spread + floor))
    return found
