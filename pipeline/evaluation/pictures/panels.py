"""Pictures of single cases: input, predicted proxy, reconstruction, heat map and truth, side by side."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pandas as pd
from matplotlib import colormaps
from numpy.typing import NDArray

from models.scoring import Array
from pipeline.detectors.images import enlarge
from pipeline.detectors.standardise import HEAT_RANGE
from pipeline.evaluation.pictures.shown import CanvasPictures, Shown
from pipeline.evaluation.saved import Panel, strip_png

SIDE = 256  # px, height of a panel's pictures


def chosen_cases(table: pd.DataFrame, column: str, count: int) -> Iterator[tuple[str, int, pd.Series]]:
    """(kind, number from 1, row of the table), ``count`` of each kind by the score ``column``.

    Found and missed are abnormal test images, false alarms and ordinary ones are test or held-out normals.
    """
    test = table[table["split"] == "test"]
    normal = table[(table["label"] == 0) & table["split"].isin(["test", "holdout"])]
    abnormal = test[test["label"] == 1]
    kinds = {
        "found": abnormal.nlargest(count, column),
        "missed": abnormal.nsmallest(count, column),
        "false alarm": normal.nlargest(count, column),
        "ordinary": normal.nsmallest(count, column),
    }
    for kind, rows in kinds.items():
        for number, (_, image) in enumerate(rows.iterrows(), start=1):
            yield kind, number, image


def case_panels(results: Sequence[CanvasPictures], table: pd.DataFrame, column: str, count: int) -> list[Panel]:
    """A strip for each of the ``chosen_cases`` on every canvas."""
    panels = []
    for kind, number, image in chosen_cases(table, column, count):
        for result in results:
            title, score = f"{kind} {number}, {result.canvas}", f"{image['klass']}, score {image[column]:.2f}"
            name = f"{kind.replace(' ', '_')}_{number}_{result.canvas}.png"
            png = case_png(result.images[str(image["image_id"])])
            panels.append(Panel(file=name, caption=f"{title}: {score} ({image['image_id']})", png=png))
    return panels


def case_png(image: Shown) -> bytes:
    """One strip; the heat map uses ``HEAT_RANGE``, the lesions are outlined on the input."""
    shown, heat = gray_picture(image.gray), heat_picture(image.heat)
    pictures = {
        "input": shown,
        "predicted proxy": gray_picture(image.proxy),
        "reconstruction": gray_picture(image.reconstruction),
        "score map": heat,
        "on input": cv2.addWeighted(np.repeat(shown[..., None], 3, 2), 0.55, heat, 0.45, 0),
    }
    if image.truth is not None:
        pictures["truth"] = _outlined(shown, image.truth)
    return strip_png(pictures, SIDE)


def heat_picture(scores: Array) -> NDArray[np.uint8]:
    """Score map (h, w) as colours (h', w', 3) on the fixed ``HEAT_RANGE``."""
    low, high = HEAT_RANGE
    unit = np.clip((_sized(scores) - low) / (high - low), 0, 1)
    colours: NDArray[np.uint8] = (colormaps["inferno"](unit)[..., :3] * 255).astype(np.uint8)
    return colours


def _sized(values: Array) -> Array:
    height, width = values.shape
    factor = max(1, SIDE // height)
    return enlarge(values.astype(np.float32), (height * factor, width * factor)) if factor > 1 else values


def gray_picture(values: Array) -> NDArray[np.uint8]:
    """Values (h, w) in [0, 1] as gray levels (h', w'), enlarged by a whole factor to about ``SIDE`` rows."""
    picture: NDArray[np.uint8] = (np.clip(_sized(values), 0, 1) * 255).astype(np.uint8)
    return picture


def _outlined(gray: NDArray[np.uint8], truth: NDArray[np.bool_]) -> NDArray[np.uint8]:
    colour = np.repeat(cv2.resize(gray, truth.shape[::-1])[..., None], 3, 2)
    contours, _ = cv2.findContours(truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlined: NDArray[np.uint8] = cv2.drawContours(np.ascontiguousarray(colour), contours, -1, (255, 60, 60), 2)
    return outlined
