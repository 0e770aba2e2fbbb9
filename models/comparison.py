"""Whether one score is better than another on the same images: paired resamples and Holm's correction.

DeLong's test does not apply: it assumes independent images, and several come from one patient or duplicate group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.metrics import METRICS, Floats, bootstrap_weights, checked, evaluate, percentiles


@dataclass(frozen=True)
class Difference:
    """AUROC of the second score minus that of the first, 95 % interval and two-sided bootstrap p; NaN if undefined."""

    value: float
    low: float
    high: float
    p: float


def paired_difference(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: Sequence[Any] | NDArray[Any],
    *,
    n: int = 1000,
    rng: np.random.Generator,
) -> Difference:
    """AUROC(second) − AUROC(first) on the same n images; every resample draws the same groups for both."""
    truth, one = checked(labels, first)
    _, other = checked(labels, second)
    if len(groups) != truth.size:
        raise ValueError(f"one group per image expected: {truth.size} images, {len(groups)} groups")
    auroc = METRICS["auroc"]
    value = evaluate(auroc, truth, other) - evaluate(auroc, truth, one)
    weights = bootstrap_weights(groups, n, rng)
    return of_resamples(value, auroc(truth, one, weights), auroc(truth, other, weights))


def of_resamples(value: float, first: ArrayLike, second: ArrayLike) -> Difference:
    """The difference from paired resampled values (n,) of both scores; ``value`` is that of all images.

    p is twice the smaller share of resamples on either side of zero, and never below 1/(n + 1).
    """
    one, other = np.asarray(first, float), np.asarray(second, float)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"paired resamples must be equally long, got {one.shape} and {other.shape}")
    drawn: Floats = other - one
    low, high = percentiles(drawn)
    defined = drawn[np.isfinite(drawn)]
    if not defined.size:
        return Difference(value, low, high, float("nan"))
    side = (1 + min(int((defined <= 0).sum()), int((defined >= 0).sum()))) / (1 + defined.size)
    return Difference(value, low, high, min(1.0, 2 * side))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p values corrected for their number (Holm 1979); undefined ones are not counted and stay undefined."""
    order = sorted((p, name) for name, p in p_values.items() if np.isfinite(p))
    corrected, reached = {name: float("nan") for name in p_values}, 0.0
    for rank, (p, name) in enumerate(order):
        reached = max(reached, min(1.0, p * (len(order) - rank)))
        corrected[name] = reached
    return corrected
