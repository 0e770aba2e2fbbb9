"""Pictures inside a page: encoded in one place, and shrunk until all of them fit a budget of bytes."""

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from PIL import Image

from pipeline.evaluation.saved import Panel

BUDGET = 8 * 1024 * 1024
"""Bytes of all panels of a page after base64."""
STEPS = ((1800, 88), (1400, 82), (1000, 75), (700, 65), (480, 55))
"""(largest width in px, JPEG quality), tried in this order."""

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


def fitting(
    steps: Sequence[tuple[int, int]], make: Callable[[int, int], T], size: Callable[[T], int], budget: int
) -> T:
    """What ``make`` returns at the first (size, quality) that fits the budget of bytes, or else at the last."""
    for step in steps:
        made = make(*step)
        if size(made) <= budget:
            break
    return made


def panel_links(panels: Sequence[Panel], budget: int = BUDGET) -> Iterator[tuple[Panel, str]]:
    """Panels with their data links, at the largest step that fits the budget."""

    def make(width: int, quality: int) -> list[str]:
        return [_panel_link(panel.png, width, quality) for panel in panels]

    links = fitting(STEPS, make, lambda made: sum(map(len, made)), budget)
    return zip(panels, links, strict=True)


def _panel_link(png: bytes, width: int, quality: int) -> str:
    """A JPEG no wider than ``width``, or the PNG itself where that is smaller."""
    image = decode(png, "RGB")
    if image.width > width:
        height = max(1, round(image.height * width / image.width))
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    jpeg = encode(image, "jpeg", quality=quality, optimize=True)
    return data_link(png, "png") if len(png) <= len(jpeg) else data_link(jpeg, "jpeg")
