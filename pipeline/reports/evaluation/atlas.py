"""Thumbnails of a data set as one picture, a cell an image, so that the page carries each once."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from pipeline.evaluation.saved import THUMBNAIL, LaneEvaluation

BUDGET = 2_400_000
"""Bytes of all atlases of the page after base64."""

COLUMNS = 40
SIDE = 64
STEPS = ((SIDE, 60), (SIDE, 40), (48, 45), (32, 45), (24, 35), (16, 30))
"""(side of a cell in px, WebP quality), tried in this order."""
LIMIT = 16383
"""Largest side of a WebP picture, px."""


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Row r of the lane's scores stands in cell (r // columns, r % columns)."""

    link: str  # data link
    columns: int
    rows: int
    shown: Sequence[int]  # 1 where the image has a thumbnail, else 0


def atlases(lanes: Sequence[LaneEvaluation], budget: int = BUDGET) -> dict[str, Atlas]:
    """Data set → atlas, for lanes with thumbnails, at the largest step that fits (the smallest where none does).

    Lanes without leave their share of the budget to the strips that stand for their pictures.
    """
    files = {lane.dataset: _files(lane) for lane in lanes}
    sheets = {dataset: (_sheet(found), found) for dataset, found in files.items() if any(found)}
    made: dict[str, Atlas] = {}
    for side, quality in STEPS:
        made = {dataset: _atlas(sheet, found, side, quality) for dataset, (sheet, found) in sheets.items()}
        if sum(len(atlas.link) for atlas in made.values()) <= budget * len(sheets) // len(lanes):
            break
    return made


def _files(lane: LaneEvaluation) -> list[bytes]:
    """A thumbnail's file for each row of the scores, empty where there is none."""
    small = lane.pictures[lane.pictures["layer"] == THUMBNAIL]
    held: Mapping[str, bytes] = dict(zip(small["image_id"], small["data"], strict=True))
    return [held.get(str(image_id), b"") for image_id in lane.scores["image_id"]]


def _sheet(files: Sequence[bytes]) -> Image.Image:
    """All thumbnails at the largest side."""
    side = SIDE
    sheet = Image.new("RGB", (side * COLUMNS, side * -(-len(files) // COLUMNS)))
    for place, data in enumerate(files):
        if data:
            with Image.open(io.BytesIO(data)) as opened:
                cell = opened.convert("RGB").resize((side, side))
            sheet.paste(cell, (place % COLUMNS * side, place // COLUMNS * side))
    return sheet


def _atlas(sheet: Image.Image, files: Sequence[bytes], side: int, quality: int) -> Atlas:
    rows = sheet.height // SIDE
    side = min(side, LIMIT // rows)
    small = sheet.resize((side * COLUMNS, side * rows), Image.Resampling.BOX) if side < SIDE else sheet
    return Atlas(link=webp_link(small, quality), columns=COLUMNS, rows=rows, shown=[int(bool(data)) for data in files])


def webp_link(image: Image.Image, quality: int | None) -> str:
    """Data link of a WebP file; without a quality it is lossless."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality or 80, lossless=quality is None, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
