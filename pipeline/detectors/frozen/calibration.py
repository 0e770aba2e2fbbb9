"""Calibration: how rare a score is among normal images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pipeline.errors import ConfigError

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
            raise ConfigError(
                f"false-alarm rate: expected {self.least:.4f} (1 in {len(self.normal) + 1}) to 1, as this detector was "
                f"calibrated on {len(self.normal)} normal images, got {rate:g}; ask for a higher rate"
            )
        return rate

    def threshold(self, rate: float | None = None) -> float:
        """The score above which the rate is at most ``usable_rate(rate)``."""
        allowed = int(np.floor(self.usable_rate(rate) * (len(self.normal) + 1) + 1e-9)) - 1  # normals above it
        return float(self.normal[len(self.normal) - 1 - allowed])

    def _above(self, score: float) -> int:
        return int((self.normal >= score).sum())


def in_words(rate: float) -> str:
    """``1 normal image in 40 scores this high``, or that most do if the rate is about 1."""
    count = round(1 / rate)
    return f"1 normal image in {count} scores this high" if count > 1 else "most normal images score this high"
