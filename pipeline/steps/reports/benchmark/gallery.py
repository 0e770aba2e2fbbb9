"""The same test images through all methods (the paper's Figs. 6 and 7): one sheet a canvas."""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.steps.comparison import GALLERY
from pipeline.steps.panels import heat_picture
from pipeline.steps.reports.benchmark.runs import DataSet, Measured
from pipeline.steps.reports.lanes import HEAT_RANGE, Panel

CELL = 128  # px, height of a picture
TOP, LEFT, GAP = 26, 84, 4  # px: method names, class names, between pictures
Picture = NDArray[np.uint8]


def sheets(data: DataSet) -> list[Panel]:
    """One picture a canvas: a row an image, its input, then reconstruction above score map for each method."""
    firsts = [runs[0] for runs in data.measured.values()]
    if not firsts:
        return []
    held = [_read(one) for one in firsts]
    canvases = dict.fromkeys(key.partition("/")[0] for key in held[0] if "/" in key)
    return [
        Panel(
            file=f"{data.key}_{canvas}.png",
            caption=(
                f"{data.title}, {canvas}: the same test images through all methods, chosen by their order alone; "
                f"above the reconstruction, below the score map on one fixed scale, {HEAT_RANGE[0]:g} to "
                f"{HEAT_RANGE[1]:g} sd of normals"
            ),
            png=_sheet([one.run.label for one in firsts], held, canvas),
        )
        for canvas in canvases
    ]


def _read(measured: Measured) -> dict[str, NDArray[np.generic]]:
    with np.load(measured.folder / GALLERY, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _sheet(labels: Sequence[str], held: Sequence[dict[str, NDArray[np.generic]]], canvas: str) -> bytes:
    first = held[0]
    for label, arrays in zip(labels, held, strict=True):
        if arrays["image_id"].tolist() != first["image_id"].tolist():
            raise ValueError(f"gallery of {label}: other images than {labels[0]} shows; evaluate both again")
    inputs = [_scaled(_outlined(first, canvas, row)) for row in range(len(first["image_id"]))]
    width = max(picture.shape[1] for picture in inputs) + GAP
    height = 2 * CELL + 2 * GAP
    sheet = Image.new("RGB", (LEFT + width * (len(labels) + 1), TOP + height * len(inputs)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, label in enumerate(("input", *labels)):
        draw.text((LEFT + width * column + 2, 5), label, fill="black", font=font)
    for row, shown in enumerate(inputs):
        y = TOP + height * row
        draw.text((4, y + CELL // 2), str(first["klass"][row]), fill="black", font=font)
        sheet.paste(Image.fromarray(shown), (LEFT, y))
        for column, arrays in enumerate(held, start=1):
            x = LEFT + width * column
            rebuilt, scores = arrays[f"{canvas}/reconstruction"][row], arrays[f"{canvas}/map"][row]
            sheet.paste(Image.fromarray(_scaled(_colour(rebuilt.astype(np.uint8)))), (x, y))
            sheet.paste(Image.fromarray(_scaled(heat_picture(scores.astype(np.float32)))), (x, y + CELL + GAP))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _outlined(arrays: dict[str, NDArray[np.generic]], canvas: str, row: int) -> Picture:
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
