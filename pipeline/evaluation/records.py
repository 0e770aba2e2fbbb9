"""Tidy evaluation records: one dict a number, with the same keys everywhere."""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from models.metrics import (
    METRICS,
    Floats,
    Metric,
    accuracy_at,
    bootstrap_weights,
    checked,
    evaluate,
    f1_at,
    false_alarms_at,
    label_free_threshold,
    percentiles,
)
from models.pixel_curve import PIXEL_METRICS, PixelCurve
from pipeline.evaluation.score_name import PRIMARY as PRIMARY
from pipeline.evaluation.score_name import SHORTCUT, ScoreName

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
IMAGE_METRICS = (
    "auroc",
    "ap",
    "acc",
    "f1",
    "false_alarm_rate",
    "acc_oracle",
    "f1_oracle",
    "auroc_heldout",
    "auroc_adjusted",
)
ORACLES = ("acc_oracle", "f1_oracle", "dice_best")
"""Metrics whose threshold is the best one on the very test data they judge."""

REVIEWED = "without reviewed"
"""Subset: all images but the normals that a person found to look abnormal (``evaluation.audit``)."""
NEEDED = ("image_id", "split", "label", "klass", "group")


def split_name(column: str) -> tuple[str, str]:
    """(method, score) of a score column."""
    name = ScoreName.parse(column)
    return name.method, name.score


def kind(method: str) -> str:
    """Kind of a record's method, one of ``score_name.KINDS``."""
    return ScoreName.of(method).kind


def score_columns(scores: pd.DataFrame) -> list[str]:
    """Score columns of an image table, in order; ValueError where a needed column is missing."""
    missing = [name for name in NEEDED if name not in scores.columns]
    if missing:
        raise ValueError(f"image scores lack the columns {missing}; got {list(scores.columns)}")
    return [str(name) for name in scores.columns if ":" in str(name)]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def label_free_thresholds(scores: pd.DataFrame, quantile: float = 0.95) -> dict[str, float]:
    """Threshold of every score but the shortcuts: the quantile of normal validation scores, no test image seen."""
    normal = scores[(scores["split"] == "val") & (scores["label"] == 0)]
    wanted = [name for name in score_columns(scores) if ScoreName.parse(name).kind != SHORTCUT]
    return {name: label_free_threshold(normal[name].to_numpy(float), quantile) for name in wanted}


def without_shortcuts(scores: pd.DataFrame) -> pd.DataFrame:
    """The table with what shortcuts explain taken out of every score named ``PRIMARY``.

    A linear fit of the score on all shortcuts, made on normal validation images alone; a shortcut's value counts no
    further than the validation normals reach, so that nothing is extrapolated to files unlike them. A table without
    shortcuts or with too few validation normals comes back as it is.
    """
    names = [name for name in score_columns(scores) if ScoreName.parse(name).kind == SHORTCUT]
    normal = ((scores["split"] == "val") & (scores["label"] == 0)).to_numpy()
    if not names or normal.sum() < 4 * len(names):
        return scores
    values = scores[names].to_numpy(float)
    low, high = values[normal].min(axis=0), values[normal].max(axis=0)
    spread = np.maximum(values[normal].std(axis=0), 1e-12)
    seen = (np.clip(values, low, high) - values[normal].mean(axis=0)) / spread
    adjusted = scores.copy()
    for column in score_columns(scores):
        if ScoreName.parse(column).score == PRIMARY:
            own = scores[column].to_numpy(float)
            weights, *_ = np.linalg.lstsq(seen[normal], own[normal] - own[normal].mean(), rcond=None)
            adjusted[column] = own - seen @ weights
    return adjusted


class _Table:
    """Test images beside the held-out normals, with one bootstrap draw a subset shared by all scores."""

    def __init__(self, scores: pd.DataFrame, n_boot: int, rng: np.random.Generator, reviewed: Collection[str]) -> None:
        test = scores[scores["split"] == "test"]
        held = scores[(scores["split"] == "holdout") & (scores["label"] == 0)]
        abnormal = test[test["label"] == 1]
        classes = sorted(abnormal["klass"].unique())
        subsets = {"all": abnormal}
        if len(classes) > 1:
            subsets |= {str(name): abnormal[abnormal["klass"] == name] for name in classes}
        self.frames: dict[tuple[str, str], tuple[pd.DataFrame, Floats]] = {}
        for side, normal in (("test", test[test["label"] == 0]), ("holdout", held)):
            for name, diseased in subsets.items():
                self._keep(side, name, normal, diseased, n_boot, rng)
        for side, normal in (("test", test[test["label"] == 0]), ("holdout", held)):
            kept = normal[~normal["image_id"].isin(list(reviewed))]
            if len(kept) < len(normal):
                self._keep(side, REVIEWED, kept, abnormal, n_boot, rng)

    def _keep(
        self, side: str, name: str, normal: pd.DataFrame, abnormal: pd.DataFrame, n_boot: int, rng: np.random.Generator
    ) -> None:
        if len(normal) and len(abnormal):
            frame = pd.concat([normal, abnormal])
            self.frames[side, name] = frame, bootstrap_weights(frame["group"].to_numpy(), n_boot, rng)

    def measure(self, side: str, subset: str, column: str, metric: Metric) -> tuple[float, float, float, int] | None:
        """(value, low, high, images) of a metric, or None where a class is missing."""
        if (side, subset) not in self.frames:
            return None
        frame, weights = self.frames[side, subset]
        try:
            labels, values = checked(frame["label"].to_numpy(), frame[column].to_numpy(float))
        except ValueError as error:
            raise ValueError(f"score {column!r}, {side} negatives, subset {subset!r}: {error}") from error
        if ScoreName.parse(column).kind == SHORTCUT and evaluate(METRICS["auroc"], labels, values) < 0.5:
            values = -values
        low, high = percentiles(metric(labels, values, weights)) if frame["group"].nunique() > 1 else (math.nan,) * 2
        return evaluate(metric, labels, values), low, high, len(frame)


def _wanted(column: str, threshold: float | None) -> Iterator[tuple[str, str, Metric]]:
    """(side, metric name, metric) for one score; shortcuts have only their direction-free AUROC."""
    yield "test", "auroc", METRICS["auroc"]
    yield "holdout", "auroc_heldout", METRICS["auroc"]
    if threshold is None:
        return
    yield "test", "ap", METRICS["ap"]
    yield "test", "acc", accuracy_at(threshold)
    yield "test", "f1", f1_at(threshold)
    yield "test", "false_alarm_rate", false_alarms_at(threshold)
    yield "test", "acc_oracle", METRICS["acc_oracle"]
    yield "test", "f1_oracle", METRICS["f1_oracle"]


def image_records(
    scores: pd.DataFrame,
    *,
    dataset: str,
    preset: str,
    seed: int,
    data_version: str,
    n_boot: int = 1000,
    rng_seed: int = 0,
    quantile: float = 0.95,
    reviewed: Collection[str] = (),
) -> list[Record]:
    """Records of every score column of an image table (image_id, split, label, klass, group, ``<method>:<score>``…).

    Subsets are ``all`` and, where the abnormal test images have several classes, each class against all normals
    (``auroc``, ``ap``, ``auroc_heldout`` only), and ``REVIEWED`` where normals are among the image ids ``reviewed``.
    ``auroc_heldout`` takes the normals of the split ``holdout`` as the
    negatives. Thresholds are the ``quantile`` of normal validation scores. The AUROC of a shortcut is free of
    direction, max(a, 1 − a); ``auroc_adjusted`` is that of ``without_shortcuts``. Intervals draw whole groups. Raises
    ValueError for scores that are not finite.
    """
    columns = score_columns(scores)
    table = _Table(scores, n_boot, np.random.default_rng(rng_seed), reviewed)
    thresholds = label_free_thresholds(scores, quantile)
    subsets = list(dict.fromkeys(subset for _, subset in table.frames))
    records = []
    free = _Table(without_shortcuts(scores), n_boot, np.random.default_rng(rng_seed), ())
    for column in columns:
        name = ScoreName.parse(column)
        method, score = name.method, name.score
        if score == PRIMARY and (measured := free.measure("test", "all", column, METRICS["auroc"])) is not None:
            head = (dataset, method, preset, seed, "image", score, "auroc_adjusted", "all")
            records.append(_record(head, measured, data_version))
        for subset in subsets:
            for side, metric_name, metric in _wanted(column, thresholds.get(column)):
                if subset != "all" and metric_name not in ("auroc", "ap", "auroc_heldout"):
                    continue
                measured = table.measure(side, subset, column, metric)
                if measured is not None:
                    head = (dataset, method, preset, seed, "image", score, metric_name, subset)
                    records.append(_record(head, measured, data_version))
    return records


def pixel_records(
    curves: Mapping[str, PixelCurve],
    *,
    dataset: str,
    preset: str,
    seed: int,
    data_version: str,
    n_boot: int = 1000,
    rng_seed: int = 0,
) -> list[Record]:
    """``PIXEL_METRICS`` of every lesion type for pixel curves by score name ``<method>:<score>``; n counts images."""
    records = []
    for column, curve in curves.items():
        name = ScoreName.parse(column)
        for subset in curve.subsets:
            count = curve.n_images(subset)
            if not count:
                continue
            values = curve.values(subset)
            intervals = curve.intervals(subset, n=n_boot, rng=np.random.default_rng(rng_seed))
            for metric in PIXEL_METRICS:
                head = (dataset, name.method, preset, seed, "pixel", name.score, metric, subset)
                records.append(_record(head, (values[metric], *intervals[metric], count), data_version))
    return records


def _record(head: tuple[Any, ...], measured: tuple[float, float, float, int], data_version: str) -> Record:
    value, low, high, n = measured
    tail = (_finite(value), _finite(low), _finite(high), n, data_version)
    return dict(zip(RECORD_KEYS, (*head, *tail), strict=True))


def record(fields: Mapping[str, Any], measured: tuple[float, float, float, int]) -> Record:
    """One record of all fields but the measured (value, low, high, n); numbers that are not finite become None."""
    value, low, high, n = measured
    known = {**fields, "value": _finite(value), "low": _finite(low), "high": _finite(high), "n": n}
    return {key: known[key] for key in RECORD_KEYS}


def find(records: list[Record], **wanted: Any) -> list[Record]:
    """Records whose fields equal every keyword, those without a value left out."""
    return [r for r in records if r["value"] is not None and all(r[key] == value for key, value in wanted.items())]
