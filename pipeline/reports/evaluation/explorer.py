"""What the page's script explores: scores, what a threshold gets wrong, and pictures within budgets of bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from pipeline.detectors.frozen.heat import hatched
from pipeline.evaluation.saved import THUMBNAIL, LaneEvaluation
from pipeline.reports.evaluation.figures import by_rank
from pipeline.reports.kit.pictures import decode, fitting, webp_link
from pipeline.reports.kit.words import column_title

NORMALS = {  # split → name and colour of its normals
    "val": ("validation normals", "#8a8f98"),
    "holdout": ("held-out normals", "#1fa37a"),
    "test": ("test normals", "#2f8fd8"),
}
ABNORMAL = ("#d9741f", "#d04a7c", "#c9a21b", "#8f6bd9")
TOP = 0.995  # quantile of the scores where plot and slider end; points beyond are drawn at the edge
FARTHEST = 10  # times the way from the lowest score to the threshold: they end there at the latest, or normals fuse
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
Json = dict[str, Any]  # as the page's script reads it


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


def grouped(scores: pd.DataFrame) -> tuple[list[Json], NDArray[np.intp]]:
    """Groups with at least one image, rows of the score plot, normals first; the group's number of each image or -1."""
    normal, test = scores["label"] == 0, scores["split"] == "test"
    found = [
        (_group(title, colour, normal=True, test=split == "test"), normal & (scores["split"] == split))
        for split, (title, colour) in NORMALS.items()
    ]
    for number, klass in enumerate(sorted(scores.loc[~normal & test, "klass"].unique())):
        colour, title = ABNORMAL[number % len(ABNORMAL)], str(klass).replace("_", " ")
        found.append((_group(title, colour, normal=False), ~normal & test & (scores["klass"] == klass)))
    found = [(group, rows) for group, rows in found if rows.any()]
    number_of = np.full(len(scores), -1)
    for number, (_, rows) in enumerate(found):
        number_of[rows.to_numpy()] = number
    return [group for group, _ in found], number_of


def _group(title: str, colour: str, *, normal: bool, test: bool = True) -> Json:
    return {"title": title, "normal": normal, "test": test, "colour": colour}


def errors_at(scores: pd.DataFrame, column: str, threshold: float) -> list[Json]:
    """False alarms of each group of normals and misses of each class, where a score above ``threshold`` is abnormal."""
    groups, number_of = grouped(scores)
    above = scores[column].to_numpy(float) > threshold

    def errors(title: str, normal: bool, numbers: list[int]) -> Json:
        rows = np.isin(number_of, numbers)
        wrong, what = int((above[rows] == normal).sum()), "false alarms" if normal else "misses"
        counted = {"wrong": wrong, "count": int(rows.sum()), "groups": numbers}
        return {"title": title, "normal": normal, **counted, "what": what}

    found = [errors(group["title"], group["normal"], [number]) for number, group in enumerate(groups)]
    classes = [number for number, group in enumerate(groups) if not group["normal"]]
    return [*found, errors("all abnormal", False, classes)] if len(classes) > 1 else found


def explorer(lane: LaneEvaluation, atlas: Atlas | None, shown: Sequence[Shown]) -> dict[str, Any]:
    """Everything the page's script reads of one lane; empty where it has no image score with a threshold."""
    thresholds = lane.about("thresholds")
    columns = [column for column in by_rank(lane) if column in thresholds]
    groups, number_of = grouped(lane.scores)
    if not columns or not groups:
        return {}
    return {
        "groups": groups,
        "ids": lane.scores["image_id"].astype(str).tolist(),
        "names": _names(lane.scores),
        "group": number_of.tolist(),
        "scores": [_values(lane.scores, column, float(thresholds[column])) for column in columns],
        "errors": errors_at(lane.scores, columns[0], thresholds[columns[0]]),
        "atlas": None if atlas is None else {"columns": atlas.columns, "rows": atlas.rows, "shown": atlas.shown},
        "gallery": [_drawn(one) for one in shown],
    }


def _names(scores: pd.DataFrame) -> list[str]:
    """File of each image, relative to the raw folder; the image id where it is not known."""
    ids = scores["image_id"].astype(str)
    return (scores["path"].fillna(ids).astype(str) if "path" in scores else ids).tolist()


def _drawn(one: Shown) -> dict[str, Any]:
    """An image of the gallery without the input of its first canvas, which is on the page already."""
    first, *others = one.canvases
    rest = {layer: link for layer, link in first["layers"].items() if layer != "input"}
    canvases = [{**first, "layers": rest}, *others]
    return {"row": one.row, "kind": KINDS[one.kind], "klass": one.klass, "canvases": canvases}


def _values(scores: pd.DataFrame, column: str, threshold: float) -> dict[str, Any]:
    """Values of a score and the range of its axis; nine digits tell any two scores apart."""
    values = scores[column].to_numpy(float)
    finite = values[np.isfinite(values)]
    low, high = (float(f"{edge:.6g}") for edge in np.quantile(finite, [0.0, TOP])) if finite.size else (0.0, 1.0)
    low = min(low, threshold)
    high = min(high, float(f"{threshold + FARTHEST * (threshold - low):.6g}")) if low < threshold else high
    return {
        "title": column_title(column),
        "threshold": float(f"{threshold:.9g}"),
        "low": low,
        "high": max(high, threshold, low + 1e-6),
        "values": [float(f"{value:.9g}") if np.isfinite(value) else None for value in values],
    }


def galleries(lanes: Sequence[LaneEvaluation], budget: int = GALLERY_BUDGET) -> dict[str, list[Shown]]:
    """Data set → images of its gallery, at the largest step that fits the budget."""

    def size(made: dict[str, list[Shown]]) -> int:
        canvases = [canvas for shown in made.values() for one in shown for canvas in one.canvases]
        return sum(len(link) for canvas in canvases for link in canvas["layers"].values())

    return fitting(({lane.dataset: _gallery(lane, *step) for lane in lanes} for step in STEPS), size, budget)


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
            gray, seen = (np.asarray(plane) for plane in image.convert("LA").split())
            colours = colormaps["inferno"](gray)[..., :3] * 255  # of gray levels on a fixed range
            image = Image.fromarray(hatched(colours, seen == 0).astype(np.uint8))
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
    candidates = ({name: _atlas(*drawn, *step) for name, drawn in sheets.items()} for step in ATLAS_STEPS)
    return fitting(candidates, lambda made: sum(len(atlas.link) for atlas in made.values()), budget)


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
