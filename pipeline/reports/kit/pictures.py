"""Pictures of a report: encoded in one place, shrunk until all fit a budget of bytes, and side by side as sheets."""

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.detectors.standardise import HEAT_RANGE
from pipeline.evaluation.layers import GALLERY
from pipeline.evaluation.pictures import heat_picture
from pipeline.evaluation.saved import Panel

BUDGET = 8 * 1024 * 1024  # bytes of all panels of a page after base64
STEPS = ((1800, 88), (1400, 82), (1000, 75), (700, 65), (480, 55))  # (largest width in px, JPEG quality), tried in turn
CELL = 128  # px, height of a picture in a sheet
TOP, LEFT, GAP = 26, 84, 4  # px: names of the columns, class names, between pictures
HEAT = f"below the score map on one fixed scale, {HEAT_RANGE[0]:g} to {HEAT_RANGE[1]:g} sd of normals"
Picture = NDArray[np.uint8]
Gallery = Mapping[str, NDArray[np.generic]]  # as ``evaluation.layers`` keeps it
T = TypeVar("T")


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    """Bytes of a ``png``, ``jpeg`` or ``webp`` file; ``options`` are Pillow's."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def decode(data: bytes, mode: str = "") -> Image.Image:
    """The picture of a file, converted to a mode if one is named."""
    with Image.open(io.BytesIO(data)) as opened:
        return opened.convert(mode or opened.mode)


def data_link(data: bytes, form: str) -> str:
    """The bytes of a picture as a data link."""
    return f"data:image/{form};base64,{base64.b64encode(data).decode()}"


def webp_link(image: Image.Image, quality: int | None) -> str:
    """Data link of a WebP file; without a quality it is lossless."""
    return data_link(encode(image, "webp", quality=quality or 80, lossless=quality is None, method=2), "webp")


def fitting(candidates: Iterable[T], size: Callable[[T], int], budget: int) -> T:
    """The first of the candidates (at least one) that fits the budget of bytes, or else the last."""
    for made in candidates:
        if size(made) <= budget:
            break
    return made


def panel_links(panels: Sequence[Panel], budget: int = BUDGET) -> Iterator[tuple[Panel, str]]:
    """Panels with their data links, at the largest step that fits the budget."""
    candidates = ([_panel_link(panel.png, *step) for panel in panels] for step in STEPS)
    return zip(panels, fitting(candidates, lambda links: sum(map(len, links)), budget), strict=True)


def _panel_link(png: bytes, width: int, quality: int) -> str:
    """A JPEG no wider than ``width``, or the PNG itself where that is smaller."""
    image = decode(png, "RGB")
    if image.width > width:
        height = max(1, round(image.height * width / image.width))
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    jpeg = encode(image, "jpeg", quality=quality, optimize=True)
    return data_link(png, "png") if len(png) <= len(jpeg) else data_link(jpeg, "jpeg")


def sheets(columns: Mapping[str, Path], layers: Sequence[str], *, file: str, title: str, text: str) -> list[Panel]:
    """The same test images through the evaluations in ``columns`` (name → folder), as one picture a canvas.

    A row is an image: its input, then for each column its ``layers`` (``proxy``, ``reconstruction``, ``map``) above
    one another. Raises ValueError where evaluations show other images.
    """
    galleries: dict[str, Gallery] = {}
    for name, folder in columns.items():
        with np.load(folder / GALLERY, allow_pickle=False) as arrays:
            galleries[name] = dict(arrays)
    first = next(iter(galleries.values()), {})
    for name, gallery in galleries.items():
        if gallery["image_id"].tolist() != first["image_id"].tolist():
            raise ValueError(f"gallery of {name}: other images than {next(iter(columns))} shows; evaluate both again")
    canvases = dict.fromkeys(key.partition("/")[0] for key in first if "/" in key)
    return [
        Panel(file=f"{file}_{canvas}.png", caption=f"{title}, {canvas}. {text}", png=_sheet(galleries, canvas, layers))
        for canvas in canvases
    ]


def _sheet(galleries: Mapping[str, Gallery], canvas: str, layers: Sequence[str]) -> bytes:
    """PNG of one canvas."""
    first, names = next(iter(galleries.values())), ("input", *galleries)
    inputs = [_outlined(first, canvas, row) for row in range(len(first["image_id"]))]
    font = ImageFont.load_default(14)
    widths = [max(int(font.getlength(name)) + 8, inputs[0].width + GAP) for name in names]
    starts = [LEFT + sum(widths[:place]) for place in range(len(widths))]
    height = len(layers) * (CELL + GAP)
    sheet = Image.new("RGB", (LEFT + sum(widths), TOP + height * len(inputs)), "white")
    draw = ImageDraw.Draw(sheet)
    for x, name in zip(starts, names, strict=True):
        draw.text((x + 2, 5), name, fill="black", font=font)
    for row, shown in enumerate(inputs):
        y = TOP + height * row
        draw.text((4, y + CELL // 2), str(first["klass"][row]), fill="black", font=font)
        sheet.paste(shown, (LEFT, y))
        for x, gallery in zip(starts[1:], galleries.values(), strict=True):
            for place, layer in enumerate(layers):
                values = gallery[f"{canvas}/{layer}"][row]
                picture = heat_picture(values.astype(np.float32)) if layer == "map" else _colour(values)
                sheet.paste(_scaled(picture), (x, y + place * (CELL + GAP)))
    return encode(sheet, "png")


def _outlined(gallery: Gallery, canvas: str, row: int) -> Image.Image:
    """The input, with the borders of its lesions where they are known."""
    shown = _colour(gallery[f"{canvas}/input"][row])
    if f"{canvas}/truth" in gallery:
        mask = gallery[f"{canvas}/truth"][row].astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        shown = cv2.drawContours(cv2.resize(shown, mask.shape[::-1]), contours, -1, (255, 60, 60), 2)
    return _scaled(shown)


def _colour(gray: NDArray[np.generic]) -> Picture:
    return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)


def _scaled(picture: Picture) -> Image.Image:
    height, width = picture.shape[:2]
    size = (max(1, round(width * CELL / height)), CELL)
    return Image.fromarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
