"""Features of a pixel for the pixel classifier. Legend: F features, H, W canvas px, k similar normals."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from models.line_blob import NEUTRAL, line_blob_maps
from models.scoring import Array, Mask, NormalStatistics, gaussian, shifted
from pipeline.detectors.neighbour import NeighbourConfig, local_distance
from pipeline.errors import ConfigError

LENGTHS = (17, 33, 34, 66, 132)  # lengths of the lines of the line-blob features, px of the canvas


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """Selection of features; scales are Gaussians in px of the given canvas."""

    scales: tuple[float, ...] = (0.7, 1.5, 3.0, 6.0, 12.0)
    curvatures: tuple[float, ...] = (1.0, 2.0, 4.0)  # Gaussians before the eigenvalues of the Hessian
    intensity: bool = True  # the image itself, unsmoothed and smoothed; False = contrasts only
    mirror: bool = False  # difference from the mirrored image, for anatomy that is symmetrical
    neighbours: int = 0  # most similar normals whose local difference is a feature
    line_blob: bool = False  # maps of dark and bright spots that are no lines
    place: bool = True  # row and column from the canvas's reference place, where canvases are aligned

    def __post_init__(self) -> None:
        if not self.scales or min((*self.scales, *self.curvatures), default=1) <= 0 or self.neighbours < 0:
            raise ConfigError(f"FeatureConfig needs scales above 0 and neighbours ≥ 0, got {self}")


def features(
    image: Array,
    seen: Mask,
    normals: Array,
    known: Mask,
    config: FeatureConfig,
    offset: tuple[float, float],
    usual: NormalStatistics | None,
) -> Array:
    """Features (F, H, W) float32 of one image (H, W) in [0, 1].

    ``seen`` (H, W) marks what was imaged. ``normals`` (k, H, W) are its most similar normals and ``known`` (k, H, W)
    what was imaged of them. ``offset`` (rows, cols in px) is the shift of its reference place (an optic disc) from the
    usual one. ``usual`` are the statistics of the line-blob maps of normals; ``ConfigError`` if these maps are
    configured without them.
    """
    weight = seen.astype(np.float32)
    smooth = [_blurred(image, weight, sigma) for sigma in config.scales]
    found = [image * weight, *smooth] if config.intensity else []
    found += [fine - wide for fine, wide in pairwise(smooth)]
    filled = np.where(seen, image, smooth[-1])
    for sigma in config.curvatures:
        found += _hessian(filled, sigma)
    mean = _blurred(image, weight, config.scales[2])
    found.append(np.sqrt(_blurred(np.square(image - mean), weight, config.scales[2])))
    if config.mirror:
        both = weight * weight[:, ::-1]
        found += [np.abs(each - each[:, ::-1]) * both for each in smooth[1:4]]
        found += [(each - each[:, ::-1]) * both for each in smooth[2:4]]
    if config.neighbours:
        found += _beside_normals(image, seen, normals, known)
    if config.line_blob:
        if usual is None:
            raise ConfigError("line-blob features need the statistics of normals")
        sd = shifted(usual.sd, offset) + 0.1 * usual.sd.mean(axis=(1, 2), keepdims=True)
        maps = (blob_maps(image, seen) - shifted(usual.mean, offset)) / sd * weight
        found += [*maps, *(gaussian(each, 3) for each in maps)]
    if config.place:
        rows, cols = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
        rows, cols = rows - 2 * offset[0] / image.shape[0], cols - 2 * offset[1] / image.shape[1]
        found += [rows, np.abs(cols) if config.mirror else cols, np.hypot(rows, cols)]
    return np.stack(found).astype(np.float32)


def blob_maps(image: Array, seen: Mask) -> Array:
    """Line-blob maps of one image and the bright and dark part of the image itself (P, H, W), smoothed a little."""
    residual = np.where(seen, image - NEUTRAL, 0).astype(np.float32)
    found = [*line_blob_maps(residual, seen, LENGTHS), np.maximum(residual, 0), np.maximum(-residual, 0)]
    return np.stack([gaussian(each, 1) for each in found])


def _beside_normals(image: Array, seen: Mask, normals: Array, known: Mask) -> list[Array]:
    """Local distance to the nearest of the similar normals, and the signed difference from their mean, smoothed."""
    near = local_distance(normals, known, image, seen, NeighbourConfig(neighbours=len(normals)))
    count = known.sum(axis=0)
    mean = np.where(count > 0, (normals * known).sum(axis=0) / np.maximum(count, 1), image)
    spread = np.sqrt(np.where(known, np.square(normals - mean), 0).sum(axis=0) / np.maximum(count, 1))
    weight = seen.astype(np.float32)
    signed = (image - mean) * weight
    return [near, *(_blurred(signed, weight, sigma) for sigma in (1.0, 2.0, 4.0)), signed / (spread + 0.03)]


def _blurred(values: Array, weight: Array, sigma: float) -> Array:
    """Gaussian mean over pixels of weight 1, which get a value; all others are 0."""
    share = np.maximum(gaussian(weight, sigma), 1e-3)
    return np.asarray(gaussian(np.asarray(values * weight, np.float32), sigma) / share * weight, np.float32)


def _hessian(image: Array, sigma: float) -> list[Array]:
    """Both eigenvalues of the scale-normalised Hessian, the larger first."""
    order = {name: ndimage.gaussian_filter(image, sigma, order=at) * sigma**2 for name, at in _SECOND.items()}
    half, mean = (order["rr"] - order["cc"]) / 2, (order["rr"] + order["cc"]) / 2
    root = np.sqrt(np.square(half) + np.square(order["rc"]))
    return [mean + root, mean - root]


_SECOND = {"rr": (2, 0), "rc": (1, 1), "cc": (0, 2)}
