"""From a residual to a score: standardise each pixel of each slot by held-out normals.

Legend: n images, P parts (1, or 2 where the sign matters), H, W canvas pixels. Higher = more anomalous.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.line_blob import line_blob_maps

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Offset = tuple[float, float]
"""Rows and columns, in canvas px."""
LEAST_SD = 1e-4
"""Smallest sd that a residual is divided by (residual units); avoids 0/0 in parts that no normal shows."""

SEVERE = 0.02
"""Share of the largest pixel scores whose mean is the severity of an image (``ScoreConfig.severity``)."""

COARSE = 8
"""Smallest sigma, in px of its grid, with which the wide Gaussian of ``ScoreConfig.smooth`` is computed."""


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """How a residual becomes a map and a number; chosen per data set, never on test images."""

    fine: bool = False  # the residual at the canvas's full size: the image less the enlarged reconstruction
    signed: bool = False  # split the residual in its positive and its negative part (bright and dark lesions)
    lines: tuple[int, ...] = ()  # px; adds parts: spots shorter than such lines (vessels are longer)
    sigma: float = 1.0  # Gaussian, px of the residual's own resolution ("one cell")
    map_sigma: float = 0.0  # Gaussian over the standardised map, px
    worst: float = 0.01  # share of the scored pixels with the largest values, (0, 1]
    minus_mean: bool = False  # subtract the mean of the map (for files that differ in overall contrast)
    mirrored: bool = True  # statistics also from the mirrored residuals
    floor: float = 0.1  # share of the mean sd added to every sd
    smooth: float = 0.0  # Gaussian over the sums behind the statistics, px; for few normals
    rare: float = 0.0  # [0, 1): pixels that a smaller share of normals shows use their neighbours' statistics
    similar: int = 0  # number of most similar normals (and mirrors) that make the statistics of an image; 0 = all
    beside: int = 0  # number of most similar training normals whose residuals this one is compared with; 0 = off
    own_mirror: bool = False  # also compare with the mirrored residual of the image itself (for symmetric organs)
    severity: float = 0.0  # weight of the severity of the whole image, added to each pixel (``standardise_one``)

    def __post_init__(self) -> None:
        if not 0 < self.worst <= 1:
            raise ValueError(f"ScoreConfig.worst is a share in (0, 1], got {self.worst}")
        least = min(self.sigma, self.map_sigma, self.smooth, self.floor, self.similar, self.beside, self.severity)
        if least < 0 or min(self.lines, default=2) < 2 or not 0 <= self.rare < 1:
            sizes = "sigma, map_sigma, smooth, floor, similar, beside and severity are at least 0, lines at least 2 px"
            raise ValueError(f"ScoreConfig: {sizes} and rare in [0, 1), got {self}")
        if (self.beside and self.fine) or (self.own_mirror and not self.beside):
            raise ValueError(f"ScoreConfig: beside goes without fine, and own_mirror with beside, got {self}")

    def scaled(self, factor: float) -> "ScoreConfig":
        """The configuration for networks of a resolution ``factor`` times as high; a fine residual is not affected."""
        if self.fine:
            return self
        sizes = {name: factor * getattr(self, name) for name in ("sigma", "map_sigma", "smooth")}
        return replace(self, lines=tuple(max(2, round(factor * length)) for length in self.lines), **sizes)


@dataclass(frozen=True)
class NormalStatistics:
    """Mean and sd of smoothed residual parts over held-out normals, each (P, H, W)."""

    mean: Array
    sd: Array


@dataclass(frozen=True)
class NormalSums:
    """Running sums over normals; the sums of an image can be subtracted so that it is not its own reference."""

    total: NDArray[np.float64]  # (P, H, W)
    square: NDArray[np.float64]
    count: NDArray[np.float64]  # (H, W)

    def __add__(self, other: "NormalSums") -> "NormalSums":
        return NormalSums(self.total + other.total, self.square + other.square, self.count + other.count)

    def __sub__(self, other: "NormalSums") -> "NormalSums":
        return NormalSums(self.total - other.total, self.square - other.square, self.count - other.count)

    def taken_from(self, other: "NormalSums") -> "NormalSums":
        """``other`` less these sums, in their memory: they are no longer valid."""
        np.subtract(other.total, self.total, out=self.total)
        np.subtract(other.square, self.square, out=self.square)
        np.subtract(other.count, self.count, out=self.count)
        return self

    @classmethod
    def of(cls, sums: "Iterable[NormalSums]") -> "NormalSums":
        """The sum of at least one; memory for two is enough."""
        rest = iter(sums)
        first = next(rest)
        found = cls(first.total.copy(), first.square.copy(), first.count.copy())
        for one in rest:
            np.add(found.total, one.total, out=found.total)
            np.add(found.square, one.square, out=found.square)
            np.add(found.count, one.count, out=found.count)
        return found

    def scaled(self, factor: float) -> "NormalSums":
        """The same normals, counted ``factor`` times."""
        return NormalSums(self.total * factor, self.square * factor, self.count * factor)

    def flipped(self) -> "NormalSums":
        """The sums of the mirrored normals."""
        return NormalSums(self.total[..., ::-1], self.square[..., ::-1], self.count[..., ::-1])

    def smoothed(self, sigma: float) -> "NormalSums":
        """The sums smoothed by a Gaussian over pixels."""
        total, square = (np.stack([_smoothed(one, sigma) for one in planes]) for planes in (self.total, self.square))
        return NormalSums(total, square, _smoothed(self.count, sigma))

    def statistics(self, config: ScoreConfig) -> NormalStatistics:
        """Mean and sd; pixels that too few normals show take the values of the nearest pixel with enough."""
        enough = self.count > max(0.5, config.rare * self.count.max())
        if not enough.any():
            raise ValueError("statistics of normals need at least one normal image with scored pixels, got none")
        nearest: Any = ...
        if not enough.all():
            nearest = tuple(ndimage.distance_transform_edt(~enough, return_distances=False, return_indices=True))
        safe = np.maximum(_smoothed(self.count, config.smooth), 1e-6)
        found = NormalStatistics(np.empty(self.total.shape, np.float32), np.empty(self.total.shape, np.float32))
        for part, planes in enumerate(zip(self.total, self.square, strict=True)):  # one after the other: less memory
            mean, square = (_smoothed(plane, config.smooth) / safe for plane in planes)
            found.mean[part] = mean[nearest]
            found.sd[part] = np.sqrt(np.maximum(square - mean**2, 0))[nearest]
        return found


def parts(residual: Array, scored: Mask, config: ScoreConfig) -> Array:
    """Smoothed parts (n, P, H, W) of signed residuals (n, H, W); unscored pixels have weight zero."""
    weight = scored.astype(np.float32)
    norm: Array = np.maximum(_blurred(weight, config.sigma), 1e-6)

    def smooth(values: Array) -> Array:
        return np.asarray(_blurred(values * weight, config.sigma) / norm * weight)

    split = [np.maximum(residual, 0), np.maximum(-residual, 0)] if config.signed else [np.abs(residual)]
    if config.lines:
        calm = zip(smooth(residual), scored, strict=True)  # single noisy pixels would interrupt a line
        split += list(np.stack([line_blob_maps(one, mask, config.lines) for one, mask in calm], axis=1))
    return np.stack([smooth(part) for part in split], axis=1, dtype=np.float32, casting="same_kind")


def _blurred(planes: Array, sigma: float) -> Array:
    """Gaussian of planes (n, H, W)."""
    return planes if sigma == 0 else np.stack([gaussian(plane, sigma) for plane in planes])


def gaussian(plane: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Gaussian of a plane (H, W), mirrored beyond its border; equal to SciPy's up to rounding, seven times faster."""
    side = 2 * int(4 * sigma + 0.5) + 1
    return np.asarray(cv2.GaussianBlur(plane, (side, side), sigma, borderType=cv2.BORDER_REFLECT))


def _smoothed(plane: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Gaussian of a plane (H, W); a wide one is computed on a coarser grid, with an error below 1e-3."""
    if sigma == 0:
        return plane
    factor = int(sigma // COARSE)
    if factor < 2:
        return gaussian(plane, sigma)
    height, width = plane.shape
    small = cv2.resize(plane, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_AREA)
    steady = gaussian(small, np.sqrt(sigma**2 - (factor**2 - 1) / 12) / factor)  # cells blur as well
    return np.asarray(cv2.resize(steady, (width, height), interpolation=cv2.INTER_LINEAR))


def shifted(values: Array, offset: Offset) -> Array:
    """Move the last two axes by whole pixels (rows, cols); the border is repeated."""
    rows, cols = (round(step) for step in offset)
    if rows == cols == 0:
        return values
    height, width = values.shape[-2:]
    r = np.clip(np.arange(height) - rows, 0, height - 1)
    c = np.clip(np.arange(width) - cols, 0, width - 1)
    return values.take(r, axis=-2).take(c, axis=-1)  # much faster than both at once


def sums(
    smoothed: Iterable[Array], scored: Iterable[Mask], offsets: Iterable[Offset], config: ScoreConfig
) -> NormalSums:
    """Sums of at least one normal image: parts (P, H, W), masks (H, W) and offsets, image by image.

    Parts are moved to the reference position, and their mirror images added if configured.
    """
    found: NormalSums | None = None
    for parts_, mask, offset in zip(smoothed, scored, offsets, strict=True):
        back = (-offset[0], -offset[1])
        weight = shifted(mask.astype(np.float32), back).astype(np.float64)
        if found is None:
            found = NormalSums(np.zeros(parts_.shape), np.zeros(parts_.shape), np.zeros(mask.shape))
        for plane, total, square in zip(parts_, found.total, found.square, strict=True):  # memory for planes alone
            value = shifted(plane, back).astype(np.float64)
            total += _with_mirror(value * weight, config)
            square += _with_mirror(np.square(value) * weight, config)
        found.count[:] += _with_mirror(weight, config)
    if found is None:
        raise ValueError("statistics of normals need at least one normal image, got none")
    return found


def _with_mirror(plane: NDArray[np.float64], config: ScoreConfig) -> NDArray[np.float64]:
    return plane + plane[:, ::-1] if config.mirrored else plane


def fit_statistics(
    smoothed: Iterable[Array], scored: Iterable[Mask], offsets: Iterable[NDArray[np.float64]], config: ScoreConfig
) -> NormalStatistics:
    """Statistics of held-out normals: parts (P, H, W), masks (H, W) and offsets (2,) in canvas px, image by image."""
    return sums(smoothed, scored, ((at[0], at[1]) for at in offsets), config).statistics(config)


def standardise_one(
    smoothed: Array, statistics: NormalStatistics, scored: Mask, offset: Offset, config: ScoreConfig
) -> Array:
    """Pixel scores (H, W) of one image, 0 where it is not scored; statistics are shifted to it.

    The largest of (r − μ)/(sd + floor·mean sd) over the parts, smoothed. ``severity`` is the weight with which the mean
    of the image's worst ``SEVERE`` share is added to each pixel: it boosts findings in images that show many.
    """
    # summed in float64: in float32 the mean of a plane depends on its memory layout from the fourth digit on
    floors = (config.floor * statistics.sd.mean(axis=(1, 2), dtype=np.float64)).astype(np.float32)
    largest: Array = np.full(scored.shape, -np.inf, np.float32)
    for part, mean, sd, floor in zip(smoothed, statistics.mean, statistics.sd, floors, strict=True):
        spread = np.maximum(shifted(sd, offset) + floor, LEAST_SD)
        np.maximum(largest, (part - shifted(mean, offset)) / spread, out=largest)
    if config.map_sigma > 0:
        largest = gaussian(largest, config.map_sigma)
    if config.severity > 0 and scored.any():
        largest = largest + config.severity * _worst(largest[scored], SEVERE)
    return largest * scored


def worst_mean(maps: Sequence[Array] | Array, scored: Mask, config: ScoreConfig) -> Array:
    """Image scores (n,): mean of the worst share of scored pixels, minus the mean of the map if configured."""
    scores = np.empty(len(maps), np.float32)
    for i, (values, mask) in enumerate(zip(maps, scored, strict=True)):
        inside = values[mask]
        if inside.size == 0:
            raise ValueError(f"image {i} of {len(maps)} has no scored pixel: quarantine it before scoring")
        scores[i] = _worst(inside, config.worst) - (inside.mean() if config.minus_mean else 0.0)
    return scores


def _worst(values: Array, share: float) -> np.float32:
    """Mean of the largest share of values (n,)."""
    keep = max(1, round(share * values.size))
    return np.float32(np.partition(values, values.size - keep)[-keep:].mean())


def z_score(scores: Array, normal: Array) -> Array:
    """Scores in units of the sd of validation normals, so that slots and members can be added."""
    return np.asarray((scores - normal.mean()) / max(float(normal.std()), 1e-12), np.float32)
