"""What an evaluation keeps to compare methods: paired resamples of pixel scores, and pictures of the same images."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.pixel_curve import PixelCurve
from pipeline.evaluation.pictures.panels import gray_picture
from pipeline.evaluation.pictures.shown import CanvasPictures
from pipeline.evaluation.score_name import COMMITTEE, ScoreName

RESAMPLES, GALLERY = "pixel_resamples.json", "gallery.npz"
SHOWN = 2  # images of each class in the gallery


def write_comparison(
    folder: Path,
    table: pd.DataFrame,
    curves: Mapping[str, PixelCurve],
    method: ScoreName,
    results: Sequence[CanvasPictures],
    resamples: int,
) -> None:
    """Write ``pixel_resamples.json`` and ``gallery.npz`` beside the evaluation.

    The resamples are bootstrap AUROCs (subset ``all``) of the pixel scores of the method and of the committee;
    resample r draws the same groups for every method, so differences of two are paired. The gallery holds the images
    of ``chosen`` for each canvas c: ``<c>/input``, ``<c>/proxy`` (predicted) and ``<c>/reconstruction`` (n, H, W)
    uint8, ``<c>/map`` (n, H, W) standardised scores, float16, and where there are masks ``<c>/truth`` bool.
    """
    kept = (method.method, COMMITTEE)
    own = {column: curve for column, curve in curves.items() if ScoreName.parse(column).method in kept}
    drawn = {
        column: curve.resampled(n=resamples, rng=np.random.default_rng(0))["auroc"]
        for column, curve in own.items()
        if len(set(curve.groups)) > 1
    }
    values = {column: [round(float(v), 6) if np.isfinite(v) else None for v in row] for column, row in drawn.items()}
    (folder / RESAMPLES).write_text(json.dumps(values) + "\n")
    shown = chosen(table)
    arrays: dict[str, NDArray[np.generic]] = {name: shown[name].to_numpy(str) for name in ("image_id", "klass")}
    for result in results:
        pictures = _pictures(result, [str(image_id) for image_id in shown["image_id"]])
        arrays |= {f"{result.canvas}/{name}": array for name, array in pictures.items()}
    np.savez_compressed(folder / GALLERY, **arrays)  # type: ignore[arg-type]


def chosen(table: pd.DataFrame) -> pd.DataFrame:
    """``SHOWN`` test images of each class, evenly spaced in the order of their ids, whatever their scores."""
    test = table[table["split"] == "test"].sort_values("image_id")
    parts = []
    for _, rows in test.groupby("klass", sort=True):
        places = np.linspace(0, len(rows) - 1, SHOWN + 2).round().astype(int)[1:-1]
        parts.append(rows.iloc[np.unique(places)])
    return pd.concat(parts).reset_index(drop=True) if parts else test


def _pictures(result: CanvasPictures, image_ids: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    shown = [result.images[image_id] for image_id in image_ids]
    pictures: dict[str, NDArray[np.generic]] = {
        "input": np.stack([gray_picture(one.gray) for one in shown]),
        "proxy": np.stack([gray_picture(one.proxy) for one in shown]),
        "reconstruction": np.stack([gray_picture(one.reconstruction) for one in shown]),
        "map": np.stack([one.heat for one in shown]).astype(np.float16),
    }
    shape = next((one.truth.shape for one in shown if one.truth is not None), None)
    if shape is not None:
        pictures["truth"] = np.stack([np.zeros(shape, bool) if one.truth is None else one.truth for one in shown])
    return pictures
