"""The page's gallery: images whose layers lie over each other, as data links under one budget of bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib import colormaps
from PIL import Image

from pipeline.evaluation.saved import THUMBNAIL, LaneEvaluation
from pipeline.reports.kit.pictures import decode, fitting, webp_link

BUDGET = 5_000_000
"""Bytes of all galleries of the page after base64."""
STEPS = ((768, 82), (512, 78), (384, 72), (256, 66), (192, 58), (128, 50))
"""(largest side of a layer in px, WebP quality), tried in this order."""
KINDS = {
    "found": "Abnormal images with the highest scores",
    "missed": "Abnormal images with the lowest scores",
    "false alarm": "Normal images with the highest scores",
    "ordinary": "Normal images with the lowest scores",
    "chosen by order": "Chosen by order, not by score",
}
"""Kind of image → heading, in the page's order."""
TRUTH_COLOUR = (64, 224, 160)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One image of the gallery; each canvas has ``name``, ``ratio`` (width / height) and ``layers`` (data links)."""

    row: int  # of the lane's scores
    kind: str
    klass: str
    canvases: Sequence[Mapping[str, Any]]


def galleries(lanes: Sequence[LaneEvaluation], budget: int = BUDGET) -> dict[str, list[Shown]]:
    """Data set → images of its gallery, at the largest step that fits the budget."""

    def make(side: int, quality: int) -> dict[str, list[Shown]]:
        return {lane.dataset: _gallery(lane, side, quality) for lane in lanes}

    return fitting(STEPS, make, lambda made: sum(_size(one) for shown in made.values() for one in shown), budget)


def _size(shown: Shown) -> int:
    return sum(len(link) for canvas in shown.canvases for link in canvas["layers"].values())


def _gallery(lane: LaneEvaluation, side: int, quality: int) -> list[Shown]:
    layers = lane.pictures[lane.pictures["layer"] != THUMBNAIL]
    place = {str(image_id): row for row, image_id in enumerate(lane.scores["image_id"])}
    order = list(KINDS)
    shown = [
        Shown(
            row=place[str(image_id)],
            kind=str(drawn["kind"].iloc[0]),
            klass=str(lane.scores["klass"].iloc[place[str(image_id)]]).replace("_", " "),
            canvases=[_canvas(str(name), of, side, quality) for name, of in drawn.groupby("canvas", sort=False)],
        )
        for image_id, drawn in layers.groupby("image_id", sort=False)
    ]
    return sorted(shown, key=lambda one: order.index(one.kind))


def _canvas(name: str, drawn: pd.DataFrame, side: int, quality: int) -> dict[str, Any]:
    links, ratio = {}, 1.0
    for layer, data in zip(drawn["layer"], drawn["data"], strict=True):
        image = decode(data)
        if layer == "heat":
            ratio = round(image.width / image.height, 4)
            image = _heat(image)
        if layer == "truth":
            image = _outline(_within(image.convert("L"), side, Image.Resampling.BOX))
            links[layer] = webp_link(image, None)
        else:
            links[layer] = webp_link(_within(image, side, Image.Resampling.LANCZOS), quality)
    return {"name": name, "ratio": ratio, "layers": links}


def _within(image: Image.Image, side: int, resampling: Image.Resampling) -> Image.Image:
    """The image, no side of it longer than ``side``."""
    if max(image.size) > side:
        image.thumbnail((side, side), resampling)
    return image


def _heat(codes: Image.Image) -> Image.Image:
    """Gray levels of the fixed range as colours."""
    return Image.fromarray((colormaps["inferno"](np.asarray(codes))[..., :3] * 255).astype(np.uint8))


def _outline(mask: Image.Image) -> Image.Image:
    """Border of a mask on a transparent ground, at least 512 px wide so that it stays thin."""
    factor = max(1, -(-512 // mask.width))
    inside = (np.asarray(mask) > 0).astype(np.uint8).repeat(factor, 0).repeat(factor, 1)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = np.zeros((*inside.shape, 4), np.uint8)
    cv2.drawContours(drawn, contours, -1, (*TRUTH_COLOUR, 255), 2)
    return Image.fromarray(drawn)
