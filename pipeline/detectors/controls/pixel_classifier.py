"""A pixel classifier trained on synthetic lesions pasted on training normals; it has never seen a real one.

Every training normal gets lesions of random kind, place, size, sign and strength (``models.synthetic_anomalies``).
Small networks learn from the features of ``pixel_features`` which pixels were altered. Most pixels of a normal image
are easy; a few (a disc's rim, a crossing of vessels) would be false alarms. A first network finds those, and the final
ones are trained on them too. An image is never compared with similar normals of its own duplicate group, neither in
training nor in use.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.pixel_network import PixelNetwork
from models.scoring import Array, NormalStatistics, ScoreConfig, fit_statistics
from models.synthetic_anomalies import LesionConfig, paste_lesions, require_trainable
from pipeline.detectors.controls.pixel_features import FeatureConfig, blob_maps, features
from pipeline.detectors.scorers import CanvasImages
from pipeline.detectors.similar import Masks, ranking
from pipeline.errors import ConfigError
from pipeline.forms.fundus import flattened


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

UNSEEN = -20.0
"""Log-odds where nothing was imaged."""

FAR = 12.0
"""Log-odds beyond which a pixel's chance to be drawn no longer changes."""

CANDIDATES = 20_000
"""Pixels of a copy that are searched for hard ones."""


class PixelClassifier:
    """Log-odds that a pixel was altered; fitted on training normals only."""

    def __init__(self, train: CanvasImages, config: ClassifierConfig) -> None:
        self.train, self.config = train, config
        self.groups = train.images["group"].to_numpy()
        self.usual = self._usual() if config.features.line_blob else None
        rng = np.random.default_rng(config.seed)
        first = PixelNetwork(*self._samples(1, rng, None), seed=config.seed, count=1)
        self.network = PixelNetwork(*self._samples(config.copies, rng, first), seed=config.seed)

    def log_odds(self, images: CanvasImages, row: int) -> Array:
        """Map (H, W) of one image, compared with normals of other groups."""
        seen = images.seen[row]
        odds = np.full(seen.shape, UNSEEN, np.float32)
        odds[seen] = self.network.log_odds(self._features(images.gray[row], images, row)[:, seen].T)
        return odds

    def _samples(
        self, copies: int, rng: np.random.Generator, first: PixelNetwork | None
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Features (n, F) of drawn pixels, and which were altered."""
        values, truth = [], []
        for row in range(len(self.train.images)):
            for _ in range(copies):
                gray, scored = self.train.gray[row], self.train.scored[row]
                image, mask, _ = paste_lesions(gray[None], scored, self.config.lesions, rng)
                if self.config.flatten:
                    image = flattened(image, self.train.validity[row])
                image = np.rint(image * 255).astype(np.float32) / np.float32(255)  # as tiles are stored
                found = self._features(image[0], self.train, row).reshape(-1, mask.size)
                chosen = self._chosen(found, mask, scored, rng, first)
                values.append(found[:, chosen].T)
                truth.append(mask.ravel()[chosen])
        return np.concatenate(values), np.concatenate(truth)

    def _chosen(
        self, found: Array, mask: Masks, scored: Masks, rng: np.random.Generator, first: PixelNetwork | None
    ) -> NDArray[np.intp]:
        """Draw pixels of one copy: altered, unaltered, and unaltered that look altered to the first network.

        The chance of an altered pixel falls with the root of its lesion's area, so that large lesions do not dominate.
        Without a first network, unaltered pixels are drawn with equal chance.
        """
        pieces, _ = ndimage.label(mask)
        altered, other = np.flatnonzero(mask), np.flatnonzero(scored & ~mask)
        third = self.config.pixels // 3
        chance = 1 / np.sqrt(np.bincount(pieces.ravel())[pieces.ravel()[altered]])
        some = altered if len(altered) <= third else rng.choice(altered, third, replace=False, p=chance / chance.sum())
        rest = rng.permutation(other)[: max(CANDIDATES, 2 * third)]
        easy, rest = rest[:third], rest[third:]
        if first is not None and len(rest) > third:
            doubt = 1 / (1 + np.exp(-np.clip(first.log_odds(found[:, rest].T), -FAR, FAR)))
            rest = rng.choice(rest, third, replace=False, p=doubt / doubt.sum())
        return np.concatenate([some, easy, rest[:third]])

    def _usual(self) -> NormalStatistics:
        """Statistics of the line-blob maps of the training normals, aligned to the reference place."""
        rows = range(len(self.train.images))
        found = (blob_maps(self.train.gray[row], self.train.seen[row]) for row in rows)
        offsets = (np.array(self.train.offset(row)) for row in rows)
        return fit_statistics(found, self.train.scored, offsets, STEADY)

    def _features(self, image: Array, images: CanvasImages, row: int) -> Array:
        """Features (F, H, W) of ``image`` (H, W): image ``row`` of ``images``, or an altered copy of it."""
        config, seen, similar = self.config.features, images.seen[row], np.zeros(0, int)
        if config.neighbours:
            others = np.flatnonzero(self.groups != images.images["group"].iloc[row])
            similar = others[ranking(self.train.gray[others], image[None], seen[None], config.neighbours)[0]]
        normals, known = self.train.gray[similar], self.train.seen[similar]
        return features(image, seen, normals, known, config, images.offset(row), self.usual)
