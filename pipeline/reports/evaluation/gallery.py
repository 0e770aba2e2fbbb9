"""The page's pictures as data links under two budgets of bytes: a gallery of layers, and thumbnails as one atlas."""

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

GALLERY_BUDGET = 5_000_000  # bytes of all galleries of the page after base64
STEPS = ((768, 82), (512, 78), (384, 72), (256, 66), (192, 58), (128, 50))  # (largest side in px, WebP quality)
KINDS = {  # kind of image → heading, in the page's order
    "found": "Abnormal images with the highest scores",
    "missed": "Abnormal images with the lowest scores",
    "false alarm": "Normal images with the highest scores",
    "ordinary": "Normal images with the lowest scores",
    "chosen by order": "Chosen by order, not by score",
}
TRUTH_COLOUR = (64, 224, 160)
ATLAS_BUDGET = 2_400_000  # bytes of all atlases of the page after base64
COLUMNS = 40  # of an atlas
SIDE = 64  # px of a cell, before it is shrunk
ATLAS_STEPS = ((SIDE, 60), (SIDE, 40), (48, 45), (32, 45), (24, 35), (16, 30))  # (side of a cell in px, quality)
LIMIT = 16383  # px, largest side of a WebP picture


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One image of the gallery; each canvas has ``name``, ``ratio`` (width / height) and ``layers`` (data links)."""

    row: int  # of the lane's scores
    kind: str
    klass: str
    canvases: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Row r of the lane's scores is in cell (r // columns, r % columns)."""

    link: str  # data link
    columns: int
    rows: int
    shown: Sequence[int]  # 1 where the image has a thumbnail, else 0


def galleries(lanes: Sequence[LaneEvaluation], budget: int = GALLERY_BUDGET) -> dict[str, list[Shown]]:
    """Data set → images of its gallery, at the largest step that fits the budget."""

    def make(side: int, quality: int) -> dict[str, list[Shown]]:
        return {lane.dataset: _gallery(lane, side, quality) for lane in lanes}

    def size(made: dict[str, list[Shown]]) -> int:
        canvases = [canvas for shown in made.values() for one in shown for canvas in one.canvases]
        return sum(len(link) for canvas in canvases for link in canvas["layers"].values())

    return fitting(STEPS, make, size, budget)


def _gallery(lane: LaneEvaluation, side: int, quality: int) -> list[Shown]:
    layers = lane.pictures[lane.pictures["layer"] != THUMBNAIL]
    place = {str(image_id): row for row, image_id in enumerate(lane.scores["image_id"])}
    shown = []
    for image_id, drawn in layers.groupby("image_id", sort=False):
        row = place[str(image_id)]
        canvases = [_canvas(str(name), of, side, quality) for name, of in drawn.groupby("canvas", sort=False)]
        klass = str(lane.scores["klass"].iloc[row]).replace("_", " ")
        shown.append(Shown(row=row, kind=str(drawn["kind"].iloc[0]), klass=klass, canvases=canvases))
    return sorted(shown, key=lambda one: list(KINDS).index(one.kind))


def _canvas(name: str, drawn: pd.DataFrame, side: int, quality: int) -> dict[str, Any]:
    links, ratio = {}, 1.0
    for layer, data in zip(drawn["layer"], drawn["data"], strict=True):
        image = decode(data)
        if layer == "truth":
            image = image.convert("L")
            image.thumbnail((side, side), Image.Resampling.BOX)
            links[layer] = webp_link(_outline(image), None)
            continue
        if layer == "heat":
            ratio = round(image.width / image.height, 4)
            colours = colormaps["inferno"](np.asarray(image))[..., :3]  # of gray levels on a fixed range
            image = Image.fromarray((colours * 255).astype(np.uint8))
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        links[layer] = webp_link(image, quality)
    return {"name": name, "ratio": ratio, "layers": links}


def _outline(mask: Image.Image) -> Image.Image:
    """Border of a mask on a transparent ground, at least 512 px wide so that it stays thin."""
    factor = max(1, -(-512 // mask.width))
    inside = (np.asarray(mask) > 0).astype(np.uint8).repeat(factor, 0).repeat(factor, 1)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = np.zeros((*inside.shape, 4), np.uint8)
    cv2.drawContours(drawn, contours, -1, (*TRUTH_COLOUR, 255), 2)
    return Image.fromarray(drawn)


def atlases(lanes: Sequence[LaneEvaluation], budget: int = ATLAS_BUDGET) -> dict[str, Atlas]:
    """Data set → atlas, for lanes with thumbnails, at the largest step that fits the budget."""
    sheets = {lane.dataset: _thumbnails(lane) for lane in lanes if not lane.pictures.empty}

    def make(side: int, quality: int) -> dict[str, Atlas]:
        return {dataset: _atlas(sheet, shown, side, quality) for dataset, (sheet, shown) in sheets.items()}

    return fitting(ATLAS_STEPS, make, lambda made: sum(len(atlas.link) for atlas in made.values()), budget)


def _thumbnails(lane: LaneEvaluation) -> tuple[Image.Image, list[int]]:
    """All thumbnails at the largest side, and 1 for each row of the scores that has one, else 0."""
    small = lane.pictures[lane.pictures["layer"] == THUMBNAIL]
    files = lane.scores["image_id"].astype(str).map(dict(zip(small["image_id"], small["data"], strict=True)))
    sheet = Image.new("RGB", (SIDE * COLUMNS, SIDE * -(-len(files) // COLUMNS)))
    for place, data in enumerate(files):
        if isinstance(data, bytes):
            cell = decode(data, "RGB").resize((SIDE, SIDE))
            sheet.paste(cell, (place % COLUMNS * SIDE, place // COLUMNS * SIDE))
    return sheet, files.notna().astype(int).tolist()


def _atlas(sheet: Image.Image, shown: Sequence[int], side: int, quality: int) -> Atlas:
    rows = sheet.height // SIDE
    side = min(side, LIMIT // rows)
    small = sheet.resize((side * COLUMNS, side * rows), Image.Resampling.BOX) if side < SIDE else sheet
    return Atlas(link=webp_link(small, quality), columns=COLUMNS, rows=rows, shown=shown)
