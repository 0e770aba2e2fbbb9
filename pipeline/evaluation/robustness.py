"""How much worse the shipped detector tells abnormal test images apart when all images are disturbed.

A version holds ``records.json`` (image AUROC; subset ``unchanged`` or kind and level, such as ``noise 0.1``) and
``scores.parquet`` (image_id, label, group, subset, score), without images that the form refuses when disturbed.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.util import random_noise

from models.metrics import METRICS, evaluate
from pipeline.data.raw import RawFolder
from pipeline.data.slices import read_slices
from pipeline.detectors.frozen.detector import Detector
from pipeline.detectors.frozen.files import read_detector
from pipeline.errors import DatasetUnusable, UnusableImage
from pipeline.evaluation.records import Estimate, RecordContext, estimate, resampled
from pipeline.evaluation.score_name import PRIMARY, ScoreName
from pipeline.store.versions import Store, Version, fingerprint

VERSION = "1"  # raise it when a change of the step's code changes its result; part of the asset's code version
MOST = 100  # normal, and as many abnormal, images, drawn with seed 0
AT_ONCE = 8  # images in memory, each in one disturbed copy
UNCHANGED = "unchanged"
Pixels = NDArray[np.uint8]  # (H, W) or (H, W, 3)


def _noise(pixels: Pixels, level: float) -> Pixels:
    return np.asarray(np.rint(255 * random_noise(pixels, "gaussian", rng=0, var=level**2)), np.uint8)


def _blur(pixels: Pixels, level: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), level * max(pixels.shape[:2])), np.uint8)


def _contrast(pixels: Pixels, level: float) -> Pixels:
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=level, beta=(1 - level) * float(pixels.mean())), np.uint8)


def _jpeg(pixels: Pixels, level: float) -> Pixels:
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(level)])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)


def _size(pixels: Pixels, level: float) -> Pixels:
    return np.asarray(cv2.resize(pixels, None, fx=level, fy=level, interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True)
class Disturbance:
    """One kind of disturbance at its levels, from weak to strong."""

    change: Callable[[Pixels, float], Pixels]
    levels: tuple[float, ...]
    unit: str


DISTURBANCES: Mapping[str, Disturbance] = {
    "brightness": Disturbance(
        lambda pixels, level: np.asarray(cv2.convertScaleAbs(pixels, beta=255 * level), np.uint8),
        (0.1, 0.2, 0.4),
        "added, share of the value range",
    ),
    "contrast": Disturbance(_contrast, (0.75, 0.5, 0.25), "factor about the mean"),
    "noise": Disturbance(_noise, (0.02, 0.05, 0.1), "sd, share of the value range"),
    "blur": Disturbance(_blur, (0.002, 0.005, 0.01), "sd of a Gaussian, share of the longer side"),
    "jpeg": Disturbance(_jpeg, (50, 20, 10), "quality"),
    "size": Disturbance(_size, (0.5, 0.25, 0.125), "factor of each side"),
}
SUBSETS: Mapping[str, tuple[str, float]] = {
    UNCHANGED: ("", 0.0),
    **{f"{kind} {level:g}": (kind, level) for kind, one in DISTURBANCES.items() for level in one.levels},
}
"""Name of each disturbed copy of the sample → kind and level."""


def measure_robustness(
    images: Version, detector: Version, raw: RawFolder, store: Store, context: RecordContext
) -> Version:
    """Score the sample under every disturbance and publish ``<dataset>/robustness``.

    Normals are those of the test, or held-out ones (metric ``auroc_heldout``) where the test has none. Raises
    ``DatasetUnusable`` without normal and abnormal images.
    """
    asset = f"{context.dataset}/robustness"
    levels = {name: one.levels for name, one in DISTURBANCES.items()}
    key = fingerprint(images.data_version, detector.data_version, levels, MOST, context, VERSION)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        metric, sample = _sample(pd.read_parquet(images.path / "images.parquet"))
        if sample["label"].nunique() < 2:
            raise DatasetUnusable(f"{asset}: expected normal and abnormal test images, got {len(sample)} of one kind")
        found = read_detector(detector.path)
        rows = [
            row
            for start in range(0, len(sample), AT_ONCE)
            for row in _scored(sample[start : start + AT_ONCE], raw, found)
        ]
        scores = pd.DataFrame(rows, columns=["image_id", "label", "group", "subset", "score"])
        name = ScoreName.of(found.name, PRIMARY)
        records = [
            context.record(name, "image", metric, subset, _auroc(scores[scores["subset"] == subset], context))
            for subset in SUBSETS
        ]
        content = work / "content"
        content.mkdir(exist_ok=True)
        (content / "records.json").write_text(json.dumps(records, indent=1, allow_nan=False) + "\n")
        scores.to_parquet(content / "scores.parquet", index=False)
        return store.publish(asset, content, fingerprint(records), {"images": len(sample), "detector": found.name})


def _sample(table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Metric and manifest rows, in the manifest's order."""
    test = table[table["split"] == "test"]
    normals, metric = test[test["label"] == 0], "auroc"
    if normals.empty:
        normals, metric = table[(table["split"] == "holdout") & (table["label"] == 0)], "auroc_heldout"
    parts = [part.sample(min(MOST, len(part)), random_state=0) for part in (normals, test[test["label"] == 1])]
    return metric, pd.concat(parts).sort_index()


def _scored(some: pd.DataFrame, raw: RawFolder, detector: Detector) -> Iterator[tuple[str, int, str, str, float]]:
    """Image id, label, group, subset and score, disturbance by disturbance."""
    rows = some.to_dict("records")
    frames = [frame.usable for frame, _ in read_slices(raw, some["path"].tolist())]
    for subset, (kind, level) in SUBSETS.items():
        taken, cut = [], []
        for row, pixels in zip(rows, frames, strict=True):
            disturbed = DISTURBANCES[kind].change(pixels, level) if kind else pixels
            try:
                cut.append((disturbed, detector.cut(disturbed)))
            except UnusableImage:
                continue
            taken.append(row)
        for row, scored in zip(taken, detector.score_tiles(cut) if cut else [], strict=True):
            yield str(row["image_id"]), int(row["label"]), str(row["group"]), subset, scored.score


def _auroc(part: pd.DataFrame, context: RecordContext) -> Estimate:
    if part["label"].nunique() < 2:  # the form refuses such images
        return Estimate(float("nan"), float("nan"), float("nan"), len(part))
    labels, scores = part["label"].to_numpy(bool), part["score"].to_numpy(float)
    weights = context.weights(part["group"].to_numpy())
    return estimate(
        evaluate(METRICS["auroc"], labels, scores), resampled(METRICS["auroc"], labels, scores, weights), len(part)
    )
