"""Evaluation records: one flat dict per number, with the same keys everywhere, and the intervals they hold."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models import metrics
from models.metrics import METRICS, Floats, Metric
from models.pixel_curve import PIXEL_METRICS, PixelCurve
from pipeline.evaluation.score_name import PRIMARY, SHORTCUT, ScoreName

Record = dict[str, Any]

RECORD_KEYS = (
    "dataset",
    "method",
    "preset",
    "seed",
    "level",
    "score",
    "metric",
    "subset",
    "value",
    "low",
    "high",
    "n",
    "data_version",
)
CLASS_METRICS = ("auroc", "ap", "auroc_heldout")
"""Image metrics that are also measured for each class of abnormal images."""
AT_THRESHOLD = ("acc", "f1", "false_alarm_rate", "sensitivity")  # the label-free one
IMAGE_METRICS = (*CLASS_METRICS, *AT_THRESHOLD, "acc_oracle", "f1_oracle", "auroc_adjusted")
REVIEWED = "without reviewed"  # subset without the normals that a person found to look abnormal (``evaluation.audit``)
AT_ONCE = 50  # resamples that are computed at once
NEEDED = ("image_id", "split", "label", "klass", "group")


class Estimate(NamedTuple):
    """A value, its 95 % interval (NaN where undefined) and the number of images behind it."""

    value: float
    low: float
    high: float
    n: int


def estimate(value: float, resampled: Floats, n: int) -> Estimate:
    """A value with the percentile interval of its bootstrap resamples (R,); no interval without resamples."""
    return Estimate(float(value), *metrics.percentiles(resampled), n)


def mean_estimate(values: Floats, weights: Floats, worth: Floats | None = None) -> Estimate:
    """Mean of values (n,), weighted by ``worth`` (n,), with the interval that bootstrap weights (R, n) give."""
    worth = np.ones(len(values)) if worth is None else worth
    return estimate(np.average(values, weights=worth), (weights @ (worth * values)) / (weights @ worth), len(values))


def resampled(metric: Metric, labels: NDArray[Any], scores: Floats, weights: Floats) -> Floats:
    """The metric (R,) for bootstrap weights (R, n), a few resamples at a time: they fit the processor's cache."""
    starts = range(0, max(1, len(weights)), AT_ONCE)
    return np.concatenate([metric(labels, scores, weights[start : start + AT_ONCE]) for start in starts])


def seeded_weights(groups: Sequence[Any] | NDArray[Any], resamples: int) -> Floats:
    """``bootstrap_weights`` of seed 0 (R, n), read-only; drawn once for records of the same images."""
    return _drawn(tuple(np.unique(np.asarray(groups), return_inverse=True)[1].ravel().tolist()), resamples)


@lru_cache(maxsize=8)
def _drawn(codes: tuple[int, ...], resamples: int) -> Floats:
    weights = metrics.bootstrap_weights(codes, resamples, np.random.default_rng(0))
    weights.setflags(write=False)
    return weights


@dataclass(frozen=True, kw_only=True)
class RecordContext:
    """What all records of one evaluation share."""

    dataset: str
    preset: str
    seed: int
    data_version: str  # of the tiles
    resamples: int = 1000  # of the bootstrap

    def weights(self, groups: Sequence[Any] | NDArray[Any], rng: np.random.Generator | None = None) -> Floats:
        """How often each resample draws each image (R, n): whole groups, seed 0 without ``rng``; R = 0 for one."""
        if len(set(groups)) < 2:
            return np.empty((0, len(groups)))
        if rng is not None:
            return metrics.bootstrap_weights(groups, self.resamples, rng)
        return seeded_weights(groups, self.resamples)

    def record(self, name: ScoreName, level: str, metric: str, subset: str, measured: Estimate) -> Record:
        """One record; numbers that are not finite become None."""
        value, low, high = (number if math.isfinite(number) else None for number in measured[:3])
        head = (self.dataset, name.method, self.preset, self.seed, level, name.score, metric, subset)
        return dict(zip(RECORD_KEYS, (*head, value, low, high, measured.n, self.data_version), strict=True))


def find(records: list[Record], **wanted: Any) -> list[Record]:
    """Records with a value whose fields equal every keyword."""
    return [r for r in records if r["value"] is not None and all(r[key] == value for key, value in wanted.items())]


def score_columns(scores: pd.DataFrame) -> list[str]:
    """Score columns of an image table, in order; ValueError where a needed column is missing."""
    missing = [name for name in NEEDED if name not in scores.columns]
    if missing:
        raise ValueError(f"image scores lack the columns {missing}; got {list(scores.columns)}")
    return [str(name) for name in scores.columns if ":" in str(name)]


def score_names(scores: pd.DataFrame) -> list[ScoreName]:
    """Names of the score columns of an image table, in order."""
    return [ScoreName.parse(column) for column in score_columns(scores)]


def label_free_thresholds(scores: pd.DataFrame, quantile: float = 0.95) -> dict[str, float]:
    """Score column → the quantile of its normal validation scores, for every score but the shortcuts."""
    normal = scores[(scores["split"] == "val") & (scores["label"] == 0)]
    columns = [name.column for name in score_names(scores) if name.kind != SHORTCUT]
    return {column: metrics.label_free_threshold(normal[column].to_numpy(float), quantile) for column in columns}


def without_shortcuts(scores: pd.DataFrame) -> pd.DataFrame:
    """The table with every ``PRIMARY`` score replaced by what the shortcuts do not explain of it.

    A linear fit on all shortcuts, made on normal validation images alone, is subtracted. Shortcuts are clipped to the
    range of those images. Without shortcuts, or with fewer than 4 such images for each, the table stays as it is.
    """
    names = score_names(scores)
    shortcuts = [name.column for name in names if name.kind == SHORTCUT]
    normal = ((scores["split"] == "val") & (scores["label"] == 0)).to_numpy()
    if not shortcuts or normal.sum() < 4 * len(shortcuts):
        return scores
    values = scores[shortcuts].to_numpy(float)
    low, high = values[normal].min(axis=0), values[normal].max(axis=0)
    spread = np.maximum(values[normal].std(axis=0), 1e-12)
    inputs = (np.clip(values, low, high) - values[normal].mean(axis=0)) / spread
    adjusted = scores.copy()
    for column in (name.column for name in names if name.score == PRIMARY):
        score = scores[column].to_numpy(float)
        weights, *_ = np.linalg.lstsq(inputs[normal], score[normal] - score[normal].mean(), rcond=None)
        adjusted[column] = score - inputs @ weights
    return adjusted


Comparisons = Mapping[tuple[str, str], tuple[pd.DataFrame, Floats]]
"""(split of the normals, subset) → normal and abnormal images, and bootstrap weights shared by all scores."""


def _comparisons(scores: pd.DataFrame, context: RecordContext, reviewed: Collection[str]) -> Comparisons:
    """Test abnormal images beside test and held-out normals: all, class by class, and without reviewed normals."""
    test, rng = scores[scores["split"] == "test"], np.random.default_rng(0)
    held_out = scores[(scores["split"] == "holdout") & (scores["label"] == 0)]
    normals, abnormal = {"test": test[test["label"] == 0], "holdout": held_out}, test[test["label"] == 1]
    classes = sorted(abnormal["klass"].unique())
    subsets = {"all": abnormal}
    if len(classes) > 1:
        subsets |= {str(name): abnormal[abnormal["klass"] == name] for name in classes}
    pairs = {(split, name): (normal, ill) for split, normal in normals.items() for name, ill in subsets.items()}
    for split, normal in normals.items():
        unreviewed = normal[~normal["image_id"].isin(list(reviewed))]
        if len(unreviewed) < len(normal):
            pairs[split, REVIEWED] = unreviewed, abnormal
    tables = {key: pd.concat(pair) for key, pair in pairs.items() if all(map(len, pair))}
    return {key: (table, context.weights(table["group"].to_numpy(), rng)) for key, table in tables.items()}


def _metrics(threshold: float | None) -> Iterator[tuple[str, str, Metric]]:
    """(split of the normals, metric name, metric) of one score; a shortcut has no threshold, only AUROCs."""
    yield "test", "auroc", METRICS["auroc"]
    yield "holdout", "auroc_heldout", METRICS["auroc"]
    if threshold is None:
        return
    yield "test", "ap", METRICS["ap"]
    yield "test", "acc", metrics.accuracy_at(threshold)
    yield "test", "f1", metrics.f1_at(threshold)
    yield "test", "false_alarm_rate", metrics.false_alarms_at(threshold)
    yield "test", "sensitivity", metrics.sensitivity_at(threshold)
    yield "test", "acc_oracle", METRICS["acc_oracle"]
    yield "test", "f1_oracle", METRICS["f1_oracle"]


def image_records(
    scores: pd.DataFrame,
    context: RecordContext,
    *,
    quantile: float = 0.95,
    reviewed: Collection[str] = (),
    level: str = "image",
    thresholds: Mapping[str, float] | None = None,
) -> list[Record]:
    """Records of every score column of an image table (image_id, split, label, klass, group, ``<method>:<score>``…).

    Subsets are ``all``; each class of abnormal test images against all normals where there are several
    (``CLASS_METRICS`` only); and ``REVIEWED``, without the image ids ``reviewed``. ``auroc_heldout`` takes the normals
    of the split ``holdout``. Thresholds, unless given, are the ``quantile`` of normal validation scores. The AUROC of a
    shortcut is max(a, 1 − a). Intervals draw whole groups. ValueError for scores that are not finite.
    """
    thresholds = label_free_thresholds(scores, quantile) if thresholds is None else thresholds
    comparisons, adjusted = _comparisons(scores, context, reviewed), without_shortcuts(scores)
    subsets = list(dict.fromkeys(subset for _, subset in comparisons))
    records = []

    def add(name: ScoreName, split: str, subset: str, metric: str, function: Metric, values: pd.DataFrame) -> None:
        table, weights = comparisons[split, subset]
        try:
            labels, column = metrics.checked(
                table["label"].to_numpy(), values.loc[table.index, name.column].to_numpy(float)
            )
        except ValueError as error:
            raise ValueError(f"score {name.column!r}, {split} negatives, subset {subset!r}: {error}") from error
        if name.kind == SHORTCUT and metrics.evaluate(METRICS["auroc"], labels, column) < 0.5:
            column = -column
        value = metrics.evaluate(function, labels, column)
        measured = estimate(value, resampled(function, labels, column, weights), len(table))
        records.append(context.record(name, level, metric, subset, measured))

    for name in score_names(scores):
        if name.score == PRIMARY and ("test", "all") in comparisons:
            add(name, "test", "all", "auroc_adjusted", METRICS["auroc"], adjusted)
        for subset in subsets:
            for split, metric, function in _metrics(thresholds.get(name.column)):
                if (split, subset) in comparisons and (subset == "all" or metric in CLASS_METRICS):
                    add(name, split, subset, metric, function, scores)
    return records


def pixel_records(curves: Mapping[str, PixelCurve], context: RecordContext) -> list[Record]:
    """``PIXEL_METRICS`` of every lesion type, for pixel curves by score column; n counts images."""
    records = []
    for column, curve in curves.items():
        for subset in (subset for subset in curve.subsets if curve.n_images(subset)):
            values = curve.values(subset)
            intervals = curve.intervals(subset, n=context.resamples, rng=np.random.default_rng(0))
            for metric in PIXEL_METRICS:
                measured = Estimate(values[metric], *intervals[metric], curve.n_images(subset))
                records.append(context.record(ScoreName.parse(column), "pixel", metric, subset, measured))
    return records
