"""A pixel classifier that has never seen a lesion: it learns synthetic ones pasted on training normals.

Every training normal gets lesions of random kind, place, size, sign and strength (``steps.synthetic``); gradient
boosting learns from the features of ``pixel_features`` which pixels were altered. An image's own duplicate group is
never among the similar normals it is compared with, in training as in use.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from models.scoring import Array
from pipeline.steps.controls.neighbour import ranking
from pipeline.steps.controls.pixel_features import FeatureConfig, Masks, features
from pipeline.steps.errors import ConfigError
from pipeline.steps.scorers import CanvasImages
from pipeline.steps.synthetic import LesionConfig, paste_lesions


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """How the classifier is trained."""

    features: FeatureConfig = field(default_factory=FeatureConfig)
    lesions: LesionConfig = field(default_factory=LesionConfig)
    copies: int = 3  # altered copies of each training normal
    pixels: int = 300  # drawn from each copy: half of them altered ones, where there are so many
    rounds: int = 200  # trees
    rate: float = 0.1  # learning rate of the boosting
    leaves: int = 31  # of a tree
    l2: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.copies, self.pixels, self.rounds) < 1 or self.leaves < 2:
            raise ConfigError(f"ClassifierConfig needs copies, pixels, rounds ≥ 1 and leaves ≥ 2, got {self}")


UNSEEN = -20.0
"""Log-odds where nothing was imaged."""


class PixelClassifier:
    """Log-odds that a pixel was altered; fitted on training normals alone."""

    def __init__(self, train: CanvasImages, config: ClassifierConfig) -> None:
        self.train, self.config = train, config
        self.groups = train.images["group"].to_numpy()
        samples, altered = self._samples()
        self.model = HistGradientBoostingClassifier(
            max_iter=config.rounds,
            learning_rate=config.rate,
            max_leaf_nodes=config.leaves,
            l2_regularization=config.l2,
            early_stopping=False,
            random_state=config.seed,
        )
        self.model.fit(samples, altered)

    def log_odds(self, image: Array, seen: Masks, group: str = "") -> Array:
        """Map (H, W) of one image; ``group`` is left out of the normals it is compared with."""
        found = self._features(image, seen, group)
        odds = self.model.decision_function(found.reshape(len(found), -1).T)
        return np.where(seen, np.asarray(odds, np.float32).reshape(image.shape), UNSEEN).astype(np.float32)

    def _samples(self) -> tuple[Array, NDArray[np.bool_]]:
        rng = np.random.default_rng(self.config.seed)
        values, truth = [], []
        for row in range(len(self.train.images)):
            for _ in range(self.config.copies):
                image, mask, _ = paste_lesions(self.train.gray[row], self.train.scored[row], self.config.lesions, rng)
                found = self._features(image, self.train.seen[row], self.groups[row])
                chosen = self._chosen(mask, self.train.scored[row], rng)
                values.append(found.reshape(len(found), -1)[:, chosen].T)
                truth.append(mask.ravel()[chosen])
        return np.concatenate(values), np.concatenate(truth)

    def _chosen(self, mask: Masks, scored: Masks, rng: np.random.Generator) -> NDArray[np.intp]:
        """Pixels that one copy gives: altered ones, and as many of the others as fill the number asked for."""
        altered, other = np.flatnonzero(mask), np.flatnonzero(scored & ~mask)
        half = min(self.config.pixels // 2, len(altered))
        rest = min(self.config.pixels - half, len(other))
        return np.concatenate([rng.choice(altered, half, replace=False), rng.choice(other, rest, replace=False)])

    def _features(self, image: Array, seen: Masks, group: str) -> Array:
        count = self.config.features.neighbours
        if not count:
            none = np.zeros((0, *image.shape), np.float32)
            return features(image, seen, none, none.astype(bool), self.config.features)
        others = np.flatnonzero(self.groups != group)
        order = ranking(self.train.gray[others], image[None], seen[None], min(count, len(others)))[0]
        similar = others[order]
        return features(image, seen, self.train.gray[similar], self.train.seen[similar], self.config.features)
