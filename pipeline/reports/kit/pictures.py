"""Pictures inside the page: each recoded so that all of them together stay within a budget of bytes."""

import base64
import io
from collections.abc import Mapping, Sequence

from PIL import Image

from pipeline.evaluation.saved import Panel

BUDGET = 8 * 1024 * 1024
"""Bytes of all pictures of the page after base64."""

STEPS = ((1800, 88), (1400, 82), (1000, 75), (700, 65), (480, 55))
"""(largest width in px, JPEG quality), tried in this order."""


def _recoded(panel: Panel, width: int, quality: int) -> str:
    """Data link of a picture: the PNG as it is where that is small, else a JPEG no wider than ``width``."""
    with Image.open(io.BytesIO(panel.png)) as opened:
        image = opened.convert("RGB")
    if image.width > width:
        height = max(1, round(image.height * width / image.width))
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    small = len(panel.png) <= buffer.tell()
    kind, data = ("png", panel.png) if small else ("jpeg", buffer.getvalue())
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def data_links(panels: Sequence[Panel], budget: int = BUDGET) -> list[str]:
    """Data links of all pictures, at the largest step that fits the budget (the smallest one where none does)."""
    links: list[str] = []
    for width, quality in STEPS:
        links = [_recoded(panel, width, quality) for panel in panels]
        if sum(map(len, links)) <= budget:
            break
    return links


def linked(pictures: Mapping[str, Sequence[Panel]]) -> dict[str, list[tuple[Panel, str]]]:
    """Panels with their data links, by part of the page, under one budget of bytes."""
    every = [(key, panel) for key, panels in pictures.items() for panel in panels]
    shown: dict[str, list[tuple[Panel, str]]] = {key: [] for key in pictures}
    for (key, panel), link in zip(every, data_links([panel for _, panel in every]), strict=True):
        shown[key].append((panel, link))
    return shown
