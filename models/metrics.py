"""Image-level metrics, their bootstrap intervals, and whether one score is better than another on the same images.

Legend: n images, R resamples, T distinct thresholds in descending order. Label 1 = abnormal, higher = more anomalous.
Every metric is a sum over weights (how often each image was drawn): 1000 resamples of 1,250 images are one (R, n)
array. Undefined values (no abnormal or no normal image) are NaN.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Groups = Sequence[Any] | NDArray[Any]
Metric = Callable[[NDArray[np.bool_], Floats, Floats], Floats]
"""(labels (n,), scores (n,), weights (R, n)) → one value a resample (R,)."""


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Quotient; NaN where the whole is zero."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_], weights: Floats) -> Floats:
    return _ratio(weights @ part.astype(float), weights @ whole.astype(float))


def roc_area(tp: Floats, fp: Floats) -> Floats:
    """Area under the ROC curve of cumulative true and false positives (..., T); ties count one half."""
    tall = tp - np.diff(tp, axis=-1, prepend=0.0) / 2
    return _ratio((np.diff(fp, axis=-1, prepend=0.0) * tall).sum(-1), tp[..., -1] * fp[..., -1])


def precision_area(tp: Floats, fp: Floats) -> Floats:
    """Average precision (step interpolation, as scikit-learn) of cumulative counts (..., T)."""
    gained = np.diff(tp, axis=-1, prepend=0.0)
    area = _ratio((gained * tp / np.maximum(tp + fp, 1e-12)).sum(-1), tp[..., -1])
    return np.where(fp[..., -1] > 0, area, np.nan)


def best_f1(tp: Floats, fp: Floats) -> Floats:
    """Largest F1 (= Dice) over all thresholds of cumulative counts (..., T); an oracle."""
    best = (2 * tp / np.maximum(tp + fp + tp[..., -1:], 1e-12)).max(-1)
    return np.where(tp[..., -1] > 0, best, np.nan)


def best_accuracy(tp: Floats, fp: Floats) -> Floats:
    """Largest accuracy over all thresholds of cumulative counts (..., T), 'none abnormal' included; an oracle."""
    positives, negatives = tp[..., -1], fp[..., -1]
    return _ratio(np.maximum((tp - fp).max(-1), 0) + negatives, positives + negatives)


def cumulative(labels: NDArray[np.bool_], scores: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weighted true and false positives (R, T) at each distinct threshold, from the highest score down."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    ordered = np.asarray(weights, float)[:, order]
    truth = labels[order]
    counts = np.cumsum(ordered * truth, axis=1), np.cumsum(ordered * ~truth, axis=1)
    return counts if len(ends) == len(order) else (counts[0][:, ends], counts[1][:, ends])


def _auroc(labels: NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
    """``roc_area`` of ``cumulative``, from the abnormal images above each normal one: a third of the time."""
    ill, normal = np.flatnonzero(labels), np.flatnonzero(~labels)
    falling = ill[np.argsort(-scores[ill])]
    above, level = (np.searchsorted(-scores[falling], -scores[normal], side=side) for side in ("left", "right"))
    weights = np.asarray(weights, float)
    found = np.zeros((len(weights), len(ill) + 1))
    np.cumsum(weights[:, falling], axis=1, out=found[:, 1:])
    pairs = found[:, above] if np.array_equal(above, level) else (found[:, above] + found[:, level]) / 2
    drawn = weights[:, normal]
    return _ratio((drawn * pairs).sum(-1), found[:, -1] * drawn.sum(-1))


def _ranked(area: Callable[[Floats, Floats], Floats]) -> Metric:
    return lambda labels, scores, weights: area(*cumulative(labels, scores, weights))


_AREAS = {"ap": precision_area, "acc_oracle": best_accuracy, "f1_oracle": best_f1}
METRICS: dict[str, Metric] = {"auroc": _auroc} | {name: _ranked(area) for name, area in _AREAS.items()}
"""Metrics that need no threshold; the two oracles use the best threshold on the images they are measured on."""


def accuracy_at(threshold: float) -> Metric:
    """Accuracy when a score above ``threshold`` means abnormal."""
    return lambda labels, scores, weights: _share((scores > threshold) == labels, np.ones_like(labels), weights)


def f1_at(threshold: float) -> Metric:
    """F1 of the abnormal class when a score above ``threshold`` means abnormal; NaN without abnormal images."""

    def metric(labels: NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
        said = scores > threshold
        hit, positives = weights @ (said & labels).astype(float), weights @ labels.astype(float)
        f1 = 2 * hit / np.maximum(weights @ said.astype(float) + positives, 1e-12)
        return np.where(positives > 0, f1, np.nan)

    return metric


def false_alarms_at(threshold: float) -> Metric:
    """Share of normal images with a score above ``threshold``."""
    return lambda labels, scores, weights: _share((scores > threshold) & ~labels, ~labels, weights)


def sensitivity_at(threshold: float) -> Metric:
    """Share of abnormal images with a score above ``threshold``."""
    return lambda labels, scores, weights: _share((scores > threshold) & labels, labels, weights)


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    """Labels as bool, scores as float64; ValueError if lengths differ or a score is not finite."""
    truth, values = np.asarray(labels).astype(bool), np.asarray(scores, float)
    if truth.ndim != 1 or truth.shape != values.shape or truth.size == 0:
        raise ValueError(f"labels and scores must be 1-d and equally long, got {truth.shape} and {values.shape}")
    if not np.isfinite(values).all():
        wrong = int((~np.isfinite(values)).sum())
        raise ValueError(f"{wrong} of {values.size} scores are not finite: score them again")
    return truth, values


def evaluate(metric: Metric, labels: ArrayLike, scores: ArrayLike) -> float:
    """Value of a metric on all images, each counted once."""
    truth, values = checked(labels, scores)
    return float(metric(truth, values, np.ones((1, truth.size)))[0])


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve; ties count one half."""
    return evaluate(METRICS["auroc"], labels, scores)


def label_free_threshold(normal_validation_scores: ArrayLike, quantile: float = 0.95) -> float:
    """Threshold from normal validation scores alone: their ``quantile`` (0..1)."""
    values = np.asarray(normal_validation_scores, float)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"a label-free threshold needs finite normal validation scores, got {values.size} values")
    return float(np.quantile(values, quantile))


def bootstrap_weights(groups: Groups, n: int, rng: np.random.Generator) -> Floats:
    """How often each image is drawn, (n, images): whole groups are drawn with replacement, as many as exist."""
    codes = np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
    count = int(codes.max()) + 1
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=n)
    return drawn[:, codes].astype(float)


def percentiles(values: Floats, coverage: float = 0.95) -> tuple[float, float]:
    """Percentile interval of resampled values; (NaN, NaN) if fewer than half of the resamples are defined."""
    defined = values[np.isfinite(values)]
    if defined.size < max(2, values.size / 2):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """AUROC of the second score minus that of the first, 95 % interval and two-sided bootstrap p; NaN if undefined.

    DeLong's test does not apply: it assumes independent images, and several come from one patient or duplicate group.
    """

    value: float
    low: float
    high: float
    p: float


def paired_difference(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, groups: Groups, *, n: int = 1000, rng: np.random.Generator
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
    defined = drawn[np.isfinite(drawn)]
    side = (1 + min(int((defined <= 0).sum()), int((defined >= 0).sum()))) / (1 + defined.size)
    return Difference(value, *percentiles(drawn), min(1.0, 2 * side) if defined.size else float("nan"))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p values corrected for their number (Holm 1979); undefined ones are not counted and stay undefined."""
    order = sorted((p, name) for name, p in p_values.items() if np.isfinite(p))
    corrected, reached = {name: float("nan") for name in p_values}, 0.0
    for rank, (p, name) in enumerate(order):
        reached = max(reached, min(1.0, p * (len(order) - rank)))
        corrected[name] = reached
    return corrected
