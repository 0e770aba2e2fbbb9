"""What an evaluation keeps so that methods can be compared: paired resamples of pixel scores, the same pictures."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.pictures.panels import Case, gray_picture
from pipeline.evaluation.scoreboard import Scoreboard

RESAMPLES, GALLERY = "pixel_resamples.json", "gallery.npz"
SHOWN = 2  # images of each class in the gallery


def write_comparison(folder: Path, board: Scoreboard, method: str, cases: Sequence[Case], *, n_boot: int) -> None:
    """Write ``pixel_resamples.json`` and ``gallery.npz`` beside the evaluation.

    The resamples are bootstrap AUROCs (subset ``all``) of the method's pixel scores; resample r draws the same groups
    for every method, so differences of two are paired. The gallery holds the images of ``chosen`` for each canvas c:
    ``<c>/input``, ``<c>/proxy`` (predicted) and ``<c>/reconstruction`` (n, H, W) uint8, ``<c>/map`` (n, H, W)
    standardised scores, float16, and where there are masks ``<c>/truth`` bool.
    """
    drawn = {
        column: curve.resampled(n=n_boot, rng=np.random.default_rng(0))["auroc"]
        for column, curve in board.curves.items()
        if column.startswith(f"{method}:") and len(set(curve.groups)) > 1
    }
    values = {column: [round(float(v), 6) if np.isfinite(v) else None for v in row] for column, row in drawn.items()}
    (folder / RESAMPLES).write_text(json.dumps(values) + "\n")
    shown = chosen(board.table)
    arrays: dict[str, NDArray[np.generic]] = {
        "image_id": shown["image_id"].to_numpy(str),
        "klass": shown["klass"].to_numpy(str),
    }
    for case in cases:
        arrays |= {f"{case.canvas}/{name}": array for name, array in _pictures(case, list(arrays["image_id"])).items()}
    np.savez_compressed(folder / GALLERY, **arrays)  # type: ignore[arg-type]


def chosen(table: pd.DataFrame) -> pd.DataFrame:
    """``SHOWN`` test images of each class, evenly spaced in the order of their ids: no score has a say in it."""
    test = table[table["split"] == "test"].sort_values("image_id")
    parts = []
    for _, rows in test.groupby("klass", sort=True):
        places = np.linspace(0, len(rows) - 1, SHOWN + 2).round().astype(int)[1:-1]
        parts.append(rows.iloc[np.unique(places)])
    return pd.concat(parts).reset_index(drop=True) if parts else test


def _pictures(case: Case, image_ids: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    order = {name: row for row, name in enumerate(case.found.images.images["image_id"])}
    rows = [order[name] for name in image_ids]
    found: dict[str, NDArray[np.generic]] = {
        "input": np.stack([gray_picture(case.found.images.gray[row]) for row in rows]),
        "proxy": np.stack([gray_picture(case.found.proxy[row]) for row in rows]),
        "reconstruction": np.stack([gray_picture(case.found.reconstruction[row]) for row in rows]),
        "map": np.stack([case.scored.map_of(row) for row in rows]).astype(np.float16),
    }
    masks = [case.lesions(row) for row in rows]
    if any(mask is not None for mask in masks):
        shape = next(mask.shape for mask in masks if mask is not None)
        found["truth"] = np.stack([np.zeros(shape, bool) if mask is None else mask for mask in masks])
    return found
