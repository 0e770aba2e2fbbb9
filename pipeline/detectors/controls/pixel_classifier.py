"""A pixel classifier trained on synthetic lesions pasted on training normals; it has never seen a real one.

Small networks learn from features of a pixel (intensities, curvatures, differences from similar normals) which pixels
were altered. A few pixels of normals (a disc's rim, a crossing of vessels) would be false alarms: a first network finds
those, and the final ones are trained on them too. An image is never compared with similar normals of its own duplicate
group, neither in training nor in use. Legend: F features, H, W canvas px, k similar normals.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from scipy import ndimage

from models.line_blob import NEUTRAL, line_blob_maps
from models.metrics import Floats
from models.pixel_network import PixelNetwork
from models.scoring import Array, Mask, NormalStatistics, Offset, ScoreConfig, fit_statistics, gaussian, shifted
from models.synthetic_anomalies import LesionConfig, paste_lesions, require_trainable
from pipeline.detectors.contract import ControlDetector
from pipeline.detectors.images import CanvasImages
from pipeline.detectors.neighbour import NeighbourConfig, local_distance, ranking
from pipeline.errors import ConfigError
from pipeline.forms.fundus import flattened

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


def blob_maps(image: Array, seen: Mask) -> Array:
    """Line-blob maps of one image and the bright and dark part of the image itself (P, H, W), smoothed a little."""
    residual = np.where(seen, image - NEUTRAL, 0).astype(np.float32)
    found = [*line_blob_maps(residual, seen, LENGTHS), np.maximum(residual, 0), np.maximum(-residual, 0)]
    return np.stack([gaussian(each, 1) for each in found])


@dataclass(frozen=True)
class Blur:
    """Gaussian means over the pixels (H, W) of weight 1, which get a value; all others are 0."""

    weight: Array
    _shares: dict[float, Array] = field(default_factory=dict)  # sigma → share of weight about each pixel

    def __call__(self, values: Array, sigma: float) -> Array:
        """Blur values (H, W)."""
        if sigma not in self._shares:
            self._shares[sigma] = np.maximum(gaussian(self.weight, sigma), 1e-3)
        blurred = gaussian(np.asarray(values * self.weight, np.float32), sigma)
        return np.asarray(blurred / self._shares[sigma] * self.weight, np.float32)


def _beside_normals(image: Array, seen: Mask, normals: Array, known: Mask) -> list[Array]:
    """Local distance to the nearest of the similar normals, and the signed difference from their mean, smoothed."""
    near = local_distance(normals, known, image, seen, NeighbourConfig(neighbours=len(normals)))
    count = known.sum(axis=0)
    mean = np.where(count > 0, (normals * known).sum(axis=0) / np.maximum(count, 1), image)
    spread = np.sqrt(np.where(known, np.square(normals - mean), 0).sum(axis=0) / np.maximum(count, 1))
    weight = seen.astype(np.float32)
    signed, blur = (image - mean) * weight, Blur(weight)
    return [near, *(blur(signed, sigma) for sigma in (1.0, 2.0, 4.0)), signed / (spread + 0.03)]


def _hessian(image: Array, sigma: float) -> list[Array]:
    """Both eigenvalues of the scale-normalised Hessian, the larger first."""
    place = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1) / sigma
    weight = np.exp(-0.5 * np.square(place))
    smooth = weight / weight.sum()
    # Derivatives of the Gaussian, times sigma and its square.
    first, second = place * smooth, (np.square(place) - 1) * smooth

    def filtered(down: Floats, across: Floats) -> Array:
        return np.asarray(cv2.sepFilter2D(image, cv2.CV_32F, across, down, borderType=cv2.BORDER_REFLECT))

    rows, cols, both = filtered(second, smooth), filtered(smooth, second), filtered(first, first)
    half, mean = (rows - cols) / 2, (rows + cols) / 2
    root = np.sqrt(np.square(half) + np.square(both))
    return [mean + root, mean - root]


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """Training of the classifier."""

    features: FeatureConfig = field(default_factory=FeatureConfig)
    lesions: LesionConfig = field(default_factory=LesionConfig)
    copies: int = 3  # altered copies of each training normal, in addition to the one for the first network
    pixels: int = 300  # drawn from each copy: a third altered, a third unaltered, a third unaltered and hard
    flatten: bool = False  # remove the background again after pasting, as the flat-field form did before
    seed: int = 0

    def __post_init__(self) -> None:
        if self.copies < 1 or self.pixels < 3:
            raise ConfigError(f"ClassifierConfig needs copies ≥ 1 and pixels ≥ 3, got {self}")
        require_trainable(self.lesions.kinds, "ClassifierConfig.lesions.kinds")


STEADY = ScoreConfig(mirrored=False, smooth=16.0, rare=0.15)
"""Statistics of line-blob maps are smoothed, because normals are few and eyes fill the canvas differently."""

LEAST_ODDS = -6.0  # log-odds that become 0, the smallest value of a part
UNSEEN = -20.0  # log-odds where nothing was imaged
FAR = 12.0  # log-odds beyond which a pixel's chance to be drawn no longer changes
CANDIDATES = 20_000  # pixels of a copy that are searched for hard ones


@dataclass(frozen=True)
class Reference:
    """What the features of an image are compared with: training normals."""

    gray: Array  # (n, H, W); none without the feature that needs them
    seen: Mask
    groups: NDArray[np.int64]
    usual: NormalStatistics | None = None  # of the line-blob maps of the training normals, if these are features

    @classmethod
    def of(cls, train: CanvasImages, config: FeatureConfig) -> "Reference":
        """Keep what ``config`` asks for."""
        kept = slice(None) if config.neighbours else slice(0)
        usual = None
        if config.line_blob:
            found = (blob_maps(gray, seen) for gray, seen in zip(train.gray, train.seen, strict=True))
            offsets = (np.array(train.offset(row)) for row in range(len(train.gray)))
            usual = fit_statistics(found, train.scored, offsets, STEADY)
        return cls(train.gray[kept], train.seen[kept], train.groups[kept], usual)

    def features(self, config: FeatureConfig, image: Array, seen: Mask, group: int, offset: Offset) -> Array:
        """Features (F, H, W) float32 of an image (H, W) in [0, 1], compared with normals of other groups.

        ``seen`` (H, W) marks what was imaged. ``offset`` (rows, cols in px) is the shift of the image's reference place
        (an optic disc) from the usual one.
        """
        weight = seen.astype(np.float32)
        blur = Blur(weight)
        smooth = [blur(image, sigma) for sigma in config.scales]
        found = [image * weight, *smooth] if config.intensity else []
        found += [fine - wide for fine, wide in pairwise(smooth)]
        filled = np.where(seen, image, smooth[-1])
        for sigma in config.curvatures:
            found += _hessian(filled, sigma)
        mean = blur(image, config.scales[2])
        found.append(np.sqrt(blur(np.square(image - mean), config.scales[2])))
        if config.mirror:
            both = weight * weight[:, ::-1]
            found += [np.abs(each - each[:, ::-1]) * both for each in smooth[1:4]]
            found += [(each - each[:, ::-1]) * both for each in smooth[2:4]]
        if config.neighbours:
            others = np.flatnonzero(self.groups != group)
            similar = others[ranking(self.gray[others], image, seen, config.neighbours)]
            found += _beside_normals(image, seen, self.gray[similar], self.seen[similar])
        if self.usual is not None:
            sd = shifted(self.usual.sd, offset) + 0.1 * self.usual.sd.mean(axis=(1, 2), keepdims=True)
            maps = (blob_maps(image, seen) - shifted(self.usual.mean, offset)) / sd * weight
            found += [*maps, *(gaussian(each, 3) for each in maps)]
        if config.place:
            rows, cols = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
            rows, cols = rows - 2 * offset[0] / image.shape[0], cols - 2 * offset[1] / image.shape[1]
            found += [rows, np.abs(cols) if config.mirror else cols, np.hypot(rows, cols)]
        return np.stack(found, dtype=np.float32, casting="same_kind")


@dataclass(frozen=True, kw_only=True)
class PixelClassifier(ControlDetector):
    """Log-odds that a pixel was altered; fitted on training normals only. Option: ``config``."""

    network: PixelNetwork
    reference: Reference

    needs_normals = True

    @classmethod
    def fitted(cls, train: CanvasImages | None, **common: Any) -> Self:
        """Train the classifier."""
        assert train is not None, "the pixel classifier needs training normals"
        config: ClassifierConfig = common["options"].get("config", ClassifierConfig())
        reference, rng = Reference.of(train, config.features), np.random.default_rng(config.seed)
        first = PixelNetwork.fit(*_samples(train, reference, config, 1, rng, None), seed=config.seed, count=1)
        samples = _samples(train, reference, config, config.copies, rng, first)
        return cls(network=PixelNetwork.fit(*samples, seed=config.seed), reference=reference, **common)

    @classmethod
    def read_options(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Options as they were before they were written as JSON."""
        config = options.get("config", ClassifierConfig())
        return {"config": TypeAdapter(ClassifierConfig).validate_python(config)}

    def holds_copies(self) -> bool:
        """Only if images are compared with similar normals."""
        return len(self.reference.gray) > 0

    def difference(self, images: CanvasImages) -> Array:
        """Log-odds (n, H, W), smoothed, above ``LEAST_ODDS``."""
        found, sigma = np.empty(images.gray.shape, np.float32), self.score.sigma
        config: FeatureConfig = self.options.get("config", ClassifierConfig()).features
        for row, (gray, seen, group) in enumerate(zip(images.gray, images.seen, images.groups, strict=True)):
            odds = np.full(seen.shape, UNSEEN, np.float32)
            values = self.reference.features(config, gray, seen, int(group), images.offset(row))
            odds[seen] = self.network.log_odds(values[:, seen].T)
            smoothed = gaussian(odds, sigma) if sigma > 0 else odds
            found[row] = np.maximum(smoothed - LEAST_ODDS, 0)
        return found

    def parts_of(self, images: CanvasImages, residual: Array) -> Array:
        """The log-odds are one part."""
        return residual[:, None]


def _samples(
    train: CanvasImages,
    reference: Reference,
    config: ClassifierConfig,
    copies: int,
    rng: np.random.Generator,
    first: PixelNetwork | None,
) -> tuple[Array, NDArray[np.bool_]]:
    """Features (n, F) of drawn pixels, and which were altered."""
    values, truth = [], []
    for row, (gray, seen, scored) in enumerate(zip(train.gray, train.seen, train.scored, strict=True)):
        for _ in range(copies):
            image, mask, _ = paste_lesions(gray[None], scored, config.lesions, rng)
            if config.flatten:
                image = flattened(image, train.validity[row])
            image = np.rint(image * 255).astype(np.float32) / np.float32(255)  # as tiles are stored
            found = reference.features(config.features, image[0], seen, int(train.groups[row]), train.offset(row))
            found = found.reshape(-1, mask.size)
            chosen = _chosen(found, mask, scored, config.pixels // 3, rng, first)
            values.append(found[:, chosen].T)
            truth.append(mask.ravel()[chosen])
    return np.concatenate(values), np.concatenate(truth)


def _chosen(
    found: Array, mask: Mask, scored: Mask, third: int, rng: np.random.Generator, first: PixelNetwork | None
) -> NDArray[np.intp]:
    """Draw pixels of one copy: ``third`` altered, as many unaltered, as many that look altered to the first network.

    The chance of an altered pixel falls with the root of its lesion's area, so that large lesions do not dominate.
    Without a first network, unaltered pixels are drawn with equal chance.
    """
    pieces, _ = ndimage.label(mask)
    altered, other = np.flatnonzero(mask), np.flatnonzero(scored & ~mask)
    chance = 1 / np.sqrt(np.bincount(pieces.ravel())[pieces.ravel()[altered]])
    some = altered if len(altered) <= third else rng.choice(altered, third, replace=False, p=chance / chance.sum())
    rest = rng.permutation(other)[: max(CANDIDATES, 2 * third)]
    easy, rest = rest[:third], rest[third:]
    if first is not None and len(rest) > third:
        doubt = 1 / (1 + np.exp(-np.clip(first.log_odds(found[:, rest].T), -FAR, FAR)))
        rest = rng.choice(rest, third, replace=False, p=doubt / doubt.sum())
    return np.concatenate([some, easy, rest[:third]])
