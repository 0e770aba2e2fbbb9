"""A pixel classifier that has never seen a lesion: it learns synthetic ones pasted on training normals.

Every training normal gets lesions of random kind, place, size, sign and strength (``steps.synthetic``); gradient
boosting and, where configured, a small network learn from the features of ``pixel_features`` which pixels were altered.
An image's own duplicate group is never among the similar normals it is compared with, in training as in use.
"""

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.scoring import Array, NormalStatistics, ScoreConfig, fit_statistics
from models.similar import ranking
from pipeline.steps.canonical.fundus import flattened
from pipeline.steps.controls.pixel_features import FeatureConfig, Masks, blob_maps, features
from pipeline.steps.errors import ConfigError
from pipeline.steps.scorers import CanvasImages
from pipeline.steps.synthetic import LesionConfig, paste_lesions

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


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
    network: tuple[int, ...] = ()  # widths of a small network whose log-odds are averaged with the trees'; none: trees
    passes: int = 8  # of the network over the drawn pixels
    flatten: bool = False  # take the background out again after pasting, as the flat-field form did before
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.copies, self.pixels, self.rounds, self.passes, *self.network) < 1 or self.leaves < 2:
            raise ConfigError(f"ClassifierConfig needs counts and widths ≥ 1 and leaves ≥ 2, got {self}")


STEADY = ScoreConfig(mirrored=False, smooth=16.0, rare=0.15)
"""How statistics of line-blob maps are kept: normals are few, and eyes do not fill the canvas alike."""

UNSEEN = -20.0
"""Log-odds where nothing was imaged."""

LEAST_CHANCE = 1e-7
"""Chances of the network are kept from 0 and 1, so that log-odds stay finite."""


def _trained_network(samples: Array, altered: NDArray[np.bool_], config: ClassifierConfig) -> "Pipeline":
    """A fully connected network on standardised features."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = MLPClassifier(config.network, batch_size=min(1024, len(samples)), random_state=config.seed)
    standardised = make_pipeline(StandardScaler(), network.set_params(max_iter=config.passes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the passes are a budget
        fitted: Pipeline = standardised.fit(samples, altered)
    return fitted


class PixelClassifier:
    """Log-odds that a pixel was altered; fitted on training normals alone."""

    def __init__(self, train: CanvasImages, config: ClassifierConfig) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier  # a second to import; most commands train nothing

        self.train, self.config = train, config
        self.groups = train.images["group"].to_numpy()
        self.usual = self._usual() if config.features.line_blob else None
        samples, altered = self._samples()
        self.trees = HistGradientBoostingClassifier(
            max_iter=config.rounds,
            learning_rate=config.rate,
            max_leaf_nodes=config.leaves,
            l2_regularization=config.l2,
            early_stopping=False,
            random_state=config.seed,
        )
        self.trees.fit(samples, altered)
        self.network = _trained_network(samples, altered, config) if config.network else None

    def log_odds(self, images: CanvasImages, row: int) -> Array:
        """Map (H, W) of one image; its own group is left out of the normals it is compared with."""
        seen = images.seen[row]
        found = self._features(images.gray[row], images, row)[:, seen].T
        odds = np.full(seen.shape, UNSEEN, np.float32)
        odds[seen] = self.trees.decision_function(found)
        if self.network is not None:
            chance = np.clip(self.network.predict_proba(found)[:, 1], LEAST_CHANCE, 1 - LEAST_CHANCE)
            odds[seen] = (odds[seen] + np.log(chance / (1 - chance))) / 2
        return odds

    def _samples(self) -> tuple[Array, NDArray[np.bool_]]:
        rng = np.random.default_rng(self.config.seed)
        values, truth = [], []
        for row in range(len(self.train.images)):
            for _ in range(self.config.copies):
                gray, scored = self.train.gray[row], self.train.scored[row]
                image, mask, _ = paste_lesions(gray[None], scored, self.config.lesions, rng)
                if self.config.flatten:
                    image = flattened(image, self.train.validity[row])
                image = np.rint(image * 255).astype(np.float32) / np.float32(255)  # as tiles are stored
                found = self._features(image[0], self.train, row)
                chosen = self._chosen(mask, scored, rng)
                values.append(found.reshape(len(found), -1)[:, chosen].T)
                truth.append(mask.ravel()[chosen])
        return np.concatenate(values), np.concatenate(truth)

    def _chosen(self, mask: Masks, scored: Masks, rng: np.random.Generator) -> NDArray[np.intp]:
        """Pixels that one copy gives: altered ones, and as many of the others as fill the number asked for.

        A pixel's chance falls with the root of its lesion's area, so that a large lesion does not drown the small ones.
        """
        pieces, _ = ndimage.label(mask)
        altered, other = np.flatnonzero(mask), np.flatnonzero(scored & ~mask)
        chance = 1 / np.sqrt(np.bincount(pieces.ravel())[pieces.ravel()[altered]])
        half = min(self.config.pixels // 2, len(altered))
        rest = min(self.config.pixels - half, len(other))
        some = rng.choice(altered, half, replace=False, p=chance / chance.sum()) if half else altered
        return np.concatenate([some, rng.choice(other, rest, replace=False)])

    def _usual(self) -> NormalStatistics:
        """Statistics of the line-blob maps of the training normals, brought to the reference place."""
        rows = range(len(self.train.images))
        found = (blob_maps(self.train.gray[row], self.train.seen[row]) for row in rows)
        offsets = (np.array(self.train.offset(row)) for row in rows)
        return fit_statistics(found, self.train.scored, offsets, STEADY)

    def _features(self, image: Array, images: CanvasImages, row: int) -> Array:
        """Features of ``image`` (H, W), which is what the row shows or an altered copy of it."""
        config, seen, similar = self.config.features, images.seen[row], np.zeros(0, int)
        if config.neighbours:
            others = np.flatnonzero(self.groups != images.images["group"].iloc[row])
            count = min(config.neighbours, len(others))
            similar = others[ranking(self.train.gray[others], image[None], seen[None], count)[0]]
        normals, known = self.train.gray[similar], self.train.seen[similar]
        return features(image, seen, normals, known, config, images.offset(row), self.usual)
