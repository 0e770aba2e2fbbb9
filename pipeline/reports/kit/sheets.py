"""The same test images through several methods or experiments, as one sheet a canvas.

A row is an image: its input, then for each column its pictures above one another.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.detectors.standardise import HEAT_RANGE
from pipeline.evaluation.pictures.gallery import GALLERY
from pipeline.evaluation.pictures.panels import heat_picture
from pipeline.evaluation.saved import Panel
from pipeline.reports.kit.pictures import encode

CELL = 128  # px, height of a picture
TOP, LEFT, GAP = 26, 84, 4  # px: names of the columns, class names, between pictures
HEAT = f"below the score map on one fixed scale, {HEAT_RANGE[0]:g} to {HEAT_RANGE[1]:g} sd of normals"
"""What captions say of the layer ``map``."""
Picture = NDArray[np.uint8]
Gallery = Mapping[str, NDArray[np.generic]]
"""``<canvas>/<layer>`` and the images' ids and classes, as ``evaluation.pictures.gallery`` keeps them."""


def sheets(columns: Mapping[str, Path], layers: Sequence[str], *, file: str, title: str, text: str) -> list[Panel]:
    """One picture a canvas of what the evaluations in ``columns`` (name → folder) show.

    ``layers`` are ``proxy``, ``reconstruction`` and ``map``. Raises ValueError where evaluations show other images.
    """
    galleries = {name: _read(folder) for name, folder in columns.items()}
    first = next(iter(galleries.values()), {})
    for name, arrays in galleries.items():
        if arrays["image_id"].tolist() != first["image_id"].tolist():
            raise ValueError(f"gallery of {name}: other images than {next(iter(columns))} shows; evaluate both again")
    canvases = dict.fromkeys(key.partition("/")[0] for key in first if "/" in key)
    return [
        Panel(file=f"{file}_{canvas}.png", caption=f"{title}, {canvas}. {text}", png=_sheet(galleries, canvas, layers))
        for canvas in canvases
    ]


def _read(folder: Path) -> Gallery:
    with np.load(folder / GALLERY, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _sheet(galleries: Mapping[str, Gallery], canvas: str, layers: Sequence[str]) -> bytes:
    """PNG of one canvas."""
    first, names = next(iter(galleries.values())), ("input", *galleries)
    inputs = [_scaled(_outlined(first, canvas, row)) for row in range(len(first["image_id"]))]
    font = ImageFont.load_default(14)
    widths = [max(int(font.getlength(name)) + 8, inputs[0].shape[1] + GAP) for name in names]
    starts = [LEFT + sum(widths[:place]) for place in range(len(widths))]
    height = len(layers) * (CELL + GAP)
    sheet = Image.new("RGB", (LEFT + sum(widths), TOP + height * len(inputs)), "white")
    draw = ImageDraw.Draw(sheet)
    for x, name in zip(starts, names, strict=True):
        draw.text((x + 2, 5), name, fill="black", font=font)
    for row, shown in enumerate(inputs):
        y = TOP + height * row
        draw.text((4, y + CELL // 2), str(first["klass"][row]), fill="black", font=font)
        sheet.paste(Image.fromarray(shown), (LEFT, y))
        for x, arrays in zip(starts[1:], galleries.values(), strict=True):
            for place, layer in enumerate(layers):
                picture = _layer(arrays[f"{canvas}/{layer}"][row], layer)
                sheet.paste(Image.fromarray(_scaled(picture)), (x, y + place * (CELL + GAP)))
    return encode(sheet, "png")


def _layer(values: NDArray[np.generic], layer: str) -> Picture:
    return heat_picture(values.astype(np.float32)) if layer == "map" else _colour(values.astype(np.uint8))


def _outlined(arrays: Gallery, canvas: str, row: int) -> Picture:
    """The input, with the borders of its lesions where they are known."""
    shown = _colour(arrays[f"{canvas}/input"][row].astype(np.uint8))
    truth = arrays.get(f"{canvas}/truth")
    if truth is None:
        return shown
    mask = truth[row].astype(np.uint8)
    enlarged = cv2.resize(shown, mask.shape[::-1])
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.ascontiguousarray(enlarged), contours, -1, (255, 60, 60), 2), np.uint8)


def _colour(gray: Picture) -> Picture:
    return np.repeat(gray[..., None], 3, axis=2)


def _scaled(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    size = (max(1, round(width * CELL / height)), CELL)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
