"""Pictures that the report's page lays over each other: a thumbnail of every image, the layers of a few.

A row of the table is one picture: ``image_id``, ``canvas``, ``layer`` (see ``LAYERS``), ``kind`` (why the image was
chosen, empty for thumbnails) and ``data``, the bytes of a WebP or PNG file.
"""

import io
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from models.scoring import Array
from pipeline.detectors.scorers import HEAT_RANGE
from pipeline.evaluation.pictures.gallery import chosen
from pipeline.evaluation.pictures.panels import Case, chosen_cases
from pipeline.evaluation.saved import PICTURE_COLUMNS, THUMBNAIL
from pipeline.store.versions import Version
from pipeline.tiles.loading import canvases, read_index, read_rows

THUMB = 64  # px, side of a thumbnail
QUALITY = 85  # of WebP, for what people look at; layers that are measured are PNG
SAMPLED = "chosen by order"
"""Kind of the images that no score has a say in."""

LAYERS = ("input", "proxy", "reconstruction", "heat", "truth")
"""From the input at the canvas's full size over the method's pictures at its own size to the lesions' mask.

``heat`` holds the standardised score as gray levels, 0 and 255 being the ends of ``HEAT_RANGE``.
"""


def picture_table(cases: Sequence[Case], table: pd.DataFrame, column: str, count: int, tiles: Version) -> pd.DataFrame:
    """Thumbnails of all scored images, then every layer of the cases and of images chosen by their order alone.

    Cases are those of ``chosen_cases``; ``table`` holds the images' scores, ``column`` being the one that is judged.
    """
    kinds: dict[str, str] = {}
    for kind, _, image in chosen_cases(table, column, count):
        kinds.setdefault(str(image["image_id"]), kind)
    for image_id in chosen(table)["image_id"]:
        kinds.setdefault(str(image_id), SAMPLED)
    small = _thumbnails(cases[0], set(table["image_id"]))
    rows = [(image_id, canvas, layer, "", data) for image_id, canvas, layer, data in small]
    for case in cases:
        drawn = _layers(case, list(kinds), tiles)
        rows += [(image_id, canvas, layer, kinds[image_id], data) for image_id, canvas, layer, data in drawn]
    return pd.DataFrame(rows, columns=list(PICTURE_COLUMNS))


Drawn = Iterator[tuple[str, str, str, bytes]]
"""(image id, canvas, layer, file)."""


def _thumbnails(case: Case, wanted: set[str]) -> Drawn:
    images = case.found.images
    for row, image_id in enumerate(images.images["image_id"]):
        if image_id in wanted:
            small = cv2.resize(_colours(images.pixels[row]), (THUMB, THUMB), interpolation=cv2.INTER_AREA)
            yield str(image_id), case.canvas, THUMBNAIL, _webp(small)


def _layers(case: Case, image_ids: Sequence[str], tiles: Version) -> Drawn:
    order = {name: row for row, name in enumerate(case.found.images.images["image_id"])}
    inputs = _inputs(tiles, case.canvas, image_ids)
    for image_id in image_ids:
        row = order[image_id]
        drawn = {
            "input": _webp(inputs[image_id]),
            "proxy": _png(_codes(case.found.proxy[row])),
            "reconstruction": _png(_codes(case.found.reconstruction[row])),
            "heat": _png(_codes((case.scored.map_of(row) - HEAT_RANGE[0]) / (HEAT_RANGE[1] - HEAT_RANGE[0]))),
        }
        if (truth := case.lesions(row)) is not None:
            drawn["truth"] = _png(truth)
        yield from ((image_id, case.canvas, layer, data) for layer, data in drawn.items())


def _inputs(tiles: Version, canvas: str, image_ids: Sequence[str]) -> Mapping[str, NDArray[np.uint8]]:
    """Image id → picture (H, W) or (H, W, 3) of the canvas at its full size."""
    index = read_index(tiles)
    index = index[(index["canvas"] == canvas) & index["image_id"].isin(image_ids)].reset_index(drop=True)
    table, stitched = canvases(read_rows(tiles, "pixels", index["tile"].to_numpy()), index, canvas)
    pictures = (_colours(pixels.astype(np.float32) / 255) for pixels in stitched)
    return dict(zip(table["image_id"].astype(str), pictures, strict=True))


def _codes(values: Array) -> NDArray[np.uint8]:
    codes: NDArray[np.uint8] = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return codes


def _colours(pixels: Array) -> NDArray[np.uint8]:
    """Pixels (C, H, W) in [0, 1] as a picture: (H, W, 3) where there are three channels, else (H, W)."""
    return np.ascontiguousarray(_codes(np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0]))


def _webp(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=QUALITY, method=4)
    return buffer.getvalue()


def _png(picture: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    """Gray levels, or one bit a pixel for a mask."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
