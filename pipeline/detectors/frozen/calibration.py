"""What is usual: how rare a score is among normal images, and whether an image is of their kind at all.

The domain guard compares the texture of an image with that of training normals. A lesion changes a place; another
modality changes the whole picture. The features are therefore quartiles over a grid of blocks, which a lesion moves
little. The distance is that to the nearest training normal, because planes and sequences of one data set may look
different. Legend: H, W px of a canvas at full size, F features.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import special

from models.scoring import Array
from pipeline.detectors.images import CanvasImages
from pipeline.errors import ConfigError
from pipeline.forms.form import NO_DATA, SCORED, TILE

DEFAULT_RATE = 0.05  # default false-alarm rate
COVERAGE = 0.95  # coverage of the interval of a rate


@dataclass(frozen=True)
class Calibration:
    """Scores of n normal validation images, each standardised by the others; sorted, rising."""

    normal: NDArray[np.float64]

    @classmethod
    def of(cls, scores: NDArray[np.floating]) -> "Calibration":
        """From scores in any order."""
        return cls(np.sort(np.asarray(scores, float)))

    def rate(self, score: float) -> float:
        """Share of normal images that score at least as high: (1 + those that do)/(n + 1), so never 0.

        A conformal p-value: of new normal images of the same kind, at most this share gets a rate as small
        (Vovk et al., Algorithmic Learning in a Random World; https://arxiv.org/abs/2104.08279).
        """
        return (1 + self._above(score)) / (len(self.normal) + 1)

    def highest_rate(self, score: float) -> float:
        """Upper end of the one-sided exact 95 % interval (Clopper and Pearson) of that share."""
        above, count = self._above(score), len(self.normal)
        return 1.0 if above == count else float(special.betaincinv(above + 1, count - above, COVERAGE))

    @property
    def least(self) -> float:
        """The lowest false-alarm rate that n normals can tell."""
        return 1 / (len(self.normal) + 1)

    def usable_rate(self, rate: float | None = None) -> float:
        """The false-alarm rate to decide at: ``rate``, or ``DEFAULT_RATE`` raised to ``least`` if None is given.

        ``ConfigError`` if ``rate`` is lower than n normals can tell, or not below 1.
        """
        if rate is None:
            return max(DEFAULT_RATE, self.least)
        if not self.least <= rate < 1:
            asked = "lower" if rate >= 1 else "higher"
            raise ConfigError(
                f"false-alarm rate: expected {self.least:.4f} (1 in {len(self.normal) + 1}) or more, below 1, as this "
                f"detector was calibrated on {len(self.normal)} normal images, got {rate:g}; ask for a {asked} rate"
            )
        return rate

    def threshold(self, rate: float | None = None) -> float:
        """The score above which the rate is at most ``usable_rate(rate)``."""
        allowed = int(np.floor(self.usable_rate(rate) * (len(self.normal) + 1) + 1e-9)) - 1  # normals above it
        return float(self.normal[len(self.normal) - 1 - allowed])

    def _above(self, score: float) -> int:
        return int((self.normal >= score).sum())


def in_words(rate: float) -> str:
    """``2.5 % of normal images score this high``."""
    return f"{percent(rate)} of normal images score this high"


def percent(rate: float) -> str:
    """A rate with two digits: ``2.5 %``, ``57 %``."""
    return f"{float(f'{100 * rate:.2g}'):g} %"


GRID = 16  # blocks along each side
SCALES = (1.0, 2.0, 4.0, 8.0)  # Gaussians of the band-pass pyramid, px of a canvas of one tile
LIMIT = 1.4
"""Largest distance of an image in the domain, in units of the farthest validation normal's.

Chosen with test images and images of other modalities in view; no score depends on it.
"""
LEAST_SD = 0.01
"""Least standard deviation of a feature, a log energy or a share: normals may all be imaged whole."""
COLOURED = 24  # gray levels by which the channels of a coloured pixel differ at least
LEAST_COLOURED = 0.3  # smallest share of coloured pixels in a colour image; notes and frames on a gray one cover less


@dataclass(frozen=True)
class Domain:
    """Features of the training normals of one canvas, and the unit of distance from them."""

    mean: NDArray[np.float64]  # (F,) of training normals
    sd: NDArray[np.float64]  # (F,)
    normals: NDArray[np.float64]  # (n, F), standardised
    farthest: float  # largest distance of a validation normal

    def distance(self, values: NDArray[np.float64]) -> float:
        """Distance of features (F,) from the nearest training normal, in units of ``farthest``; infinite for NaN."""
        if not bool(np.isfinite(values).all()):
            return float("inf")
        away = self.normals - (values - self.mean) / self.sd
        return math.sqrt(float(np.square(away).sum(axis=1).min())) / self.farthest


def fit_domain(train: NDArray[np.float64], validation: NDArray[np.float64]) -> Domain:
    """Fit to features (n, F) of training normals; those of validation normals give the unit of distance."""
    known = train[np.isfinite(train).all(axis=1)]
    mean, sd = known.mean(axis=0), np.maximum(known.std(axis=0), LEAST_SD)
    plain = Domain(mean, sd, (known - mean) / sd, 1.0)
    distances = [plain.distance(row) for row in validation]
    farthest = max((value for value in distances if math.isfinite(value)), default=1.0)
    return Domain(mean, sd, plain.normals, max(farthest, 1e-6))


def coloured(pixels: NDArray[np.uint8]) -> bool:
    """Whether an image (H, W) or (H, W, 3) is a colour image."""
    if pixels.ndim == 2:
        return False
    spread = pixels.max(axis=-1).astype(np.int16) - pixels.min(axis=-1)
    return bool((spread > COLOURED).mean() > LEAST_COLOURED)


def textures(images: CanvasImages) -> NDArray[np.float64]:
    """Features (n, F) of images at full size."""
    return np.stack([texture(gray, validity) for gray, validity in zip(images.gray, images.validity, strict=True)])


def texture(gray: Array, validity: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Features (F,) of one canvas (H, W) in [0, 1]; NaN if too little of it was imaged."""
    seen = validity != NO_DATA
    shares = _blocks(seen.astype(np.float32)) > 0.75
    if shares.sum() < GRID // 2:
        return np.full(4 * len(SCALES) + 2, np.nan)
    before = np.where(seen, gray, gray[seen].mean()).astype(np.float32)
    found: list[float] = []
    for scale in SCALES:
        smooth = np.asarray(cv2.GaussianBlur(before, (0, 0), scale * gray.shape[0] / TILE), np.float32)
        energy = np.log(np.sqrt(_blocks(np.square(before - smooth))) + 2e-3)[shares]
        down = _blocks(np.abs(np.diff(smooth, axis=0, append=smooth[-1:])))
        along = _blocks(np.abs(np.diff(smooth, axis=1, append=smooth[:, -1:])))
        found += [float(value) for value in np.quantile(energy, (0.25, 0.5, 0.75))]
        found.append(float(np.median((np.log(down + 1e-3) - np.log(along + 1e-3))[shares])))
        before = smooth
    return np.array([*found, seen.mean(), (validity == SCORED).mean()])


def _blocks(values: Array) -> Array:
    """Means (GRID, GRID) over blocks of (H, W)."""
    height, width = (side // GRID for side in values.shape)
    return np.asarray(values[: height * GRID, : width * GRID].reshape(GRID, height, GRID, width).mean(axis=(1, 3)))
