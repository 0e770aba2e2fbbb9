"""The same test images through several methods or experiments, as one sheet a canvas.

A row is an image: its input, then for each column its pictures above one another.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.evaluation.pictures.gallery import GALLERY
from pipeline.evaluation.pictures.panels import heat_picture

CELL = 128  # px, height of a picture
TOP, LEFT, GAP = 26, 84, 4  # px: names of the columns, class names, between pictures
Picture = NDArray[np.uint8]
Held = Mapping[str, NDArray[np.generic]]
"""What an evaluation keeps for comparison: ``<canvas>/<layer>`` and the images' ids and classes."""


def read_gallery(folder: Path) -> Held:
    """The arrays of one evaluation."""
    with np.load(folder / GALLERY, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def canvases_of(held: Held) -> list[str]:
    """Canvases there are pictures of."""
    return list(dict.fromkeys(key.partition("/")[0] for key in held if "/" in key))


def sheet(columns: Mapping[str, Held], canvas: str, layers: Sequence[str]) -> bytes:
    """PNG of the ``columns`` (name → its pictures); layers are ``proxy``, ``reconstruction`` and ``map``."""
    labels, first = list(columns), next(iter(columns.values()))
    for label, arrays in columns.items():
        if arrays["image_id"].tolist() != first["image_id"].tolist():
            raise ValueError(f"gallery of {label}: other images than {labels[0]} shows; evaluate both again")
    inputs = [_scaled(_outlined(first, canvas, row)) for row in range(len(first["image_id"]))]
    font = ImageFont.load_default(14)
    widths = [max(int(font.getlength(label)) + 8, inputs[0].shape[1] + GAP) for label in ("input", *labels)]
    starts = [LEFT + sum(widths[:place]) for place in range(len(widths))]
    height = len(layers) * (CELL + GAP)
    made = Image.new("RGB", (LEFT + sum(widths), TOP + height * len(inputs)), "white")
    draw = ImageDraw.Draw(made)
    for x, label in zip(starts, ("input", *labels), strict=True):
        draw.text((x + 2, 5), label, fill="black", font=font)
    for row, shown in enumerate(inputs):
        y = TOP + height * row
        draw.text((4, y + CELL // 2), str(first["klass"][row]), fill="black", font=font)
        made.paste(Image.fromarray(shown), (LEFT, y))
        for x, arrays in zip(starts[1:], columns.values(), strict=True):
            for place, layer in enumerate(layers):
                picture = _layer(arrays[f"{canvas}/{layer}"][row], layer)
                made.paste(Image.fromarray(_scaled(picture)), (x, y + place * (CELL + GAP)))
    buffer = io.BytesIO()
    made.save(buffer, "PNG")
    return buffer.getvalue()


def _layer(values: NDArray[np.generic], layer: str) -> Picture:
    return heat_picture(values.astype(np.float32)) if layer == "map" else _colour(values.astype(np.uint8))


def _outlined(arrays: Held, canvas: str, row: int) -> Picture:
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
