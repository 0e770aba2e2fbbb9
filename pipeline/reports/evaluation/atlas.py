"""Thumbnails of a data set as one picture, one cell per image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from pipeline.evaluation.saved import THUMBNAIL, LaneEvaluation
from pipeline.reports.kit.pictures import decode, fitting, webp_link

BUDGET = 2_400_000
"""Bytes of all atlases of the page after base64."""
COLUMNS = 40
SIDE = 64  # px of a cell, before it is shrunk
STEPS = ((SIDE, 60), (SIDE, 40), (48, 45), (32, 45), (24, 35), (16, 30))
"""(side of a cell in px, WebP quality), tried in this order."""
LIMIT = 16383
"""Largest side of a WebP picture, px."""


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Row r of the lane's scores is in cell (r // columns, r % columns)."""

    link: str  # data link
    columns: int
    rows: int
    shown: Sequence[int]  # 1 where the image has a thumbnail, else 0


def atlases(lanes: Sequence[LaneEvaluation], budget: int = BUDGET) -> dict[str, Atlas]:
    """Data set → atlas, for lanes with thumbnails, at the largest step that fits the budget."""
    files = {lane.dataset: _files(lane) for lane in lanes if not lane.pictures.empty}
    sheets = {dataset: _sheet(found) for dataset, found in files.items()}

    def make(side: int, quality: int) -> dict[str, Atlas]:
        return {dataset: _atlas(sheet, files[dataset], side, quality) for dataset, sheet in sheets.items()}

    return fitting(STEPS, make, lambda made: sum(len(atlas.link) for atlas in made.values()), budget)


def _files(lane: LaneEvaluation) -> list[bytes]:
    """The thumbnail's file for each row of the scores, empty where there is none."""
    small = lane.pictures[lane.pictures["layer"] == THUMBNAIL]
    held: Mapping[str, bytes] = dict(zip(small["image_id"], small["data"], strict=True))
    return [held.get(str(image_id), b"") for image_id in lane.scores["image_id"]]


def _sheet(files: Sequence[bytes]) -> Image.Image:
    """All thumbnails at the largest side."""
    sheet = Image.new("RGB", (SIDE * COLUMNS, SIDE * -(-len(files) // COLUMNS)))
    for place, data in enumerate(files):
        if data:
            cell = decode(data, "RGB").resize((SIDE, SIDE))
            sheet.paste(cell, (place % COLUMNS * SIDE, place // COLUMNS * SIDE))
    return sheet


def _atlas(sheet: Image.Image, files: Sequence[bytes], side: int, quality: int) -> Atlas:
    rows = sheet.height // SIDE
    side = min(side, LIMIT // rows)
    small = sheet.resize((side * COLUMNS, side * rows), Image.Resampling.BOX) if side < SIDE else sheet
    return Atlas(link=webp_link(small, quality), columns=COLUMNS, rows=rows, shown=[int(bool(data)) for data in files])
