"""Pictures that the report's page overlays: a thumbnail of every image, the layers of a few.

A row of the table is one picture: ``image_id``, ``canvas``, ``layer`` (see ``LAYERS``), ``kind`` (why the image was
chosen, empty for thumbnails) and ``data``, the bytes of a WebP or PNG file.
"""

import io
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from models.scoring import Array
from pipeline.detectors.images import stitched
from pipeline.detectors.standardise import HEAT_RANGE
from pipeline.evaluation.pictures.gallery import chosen
from pipeline.evaluation.pictures.panels import chosen_cases
from pipeline.evaluation.pictures.shown import CanvasPictures, Shown
from pipeline.evaluation.saved import PICTURE_COLUMNS, THUMBNAIL
from pipeline.evaluation.scoreboard import SCORED_SPLITS
from pipeline.store.versions import Version
from pipeline.tiles.loading import canvases, load_tiles, read_index, read_rows

THUMB = 64  # px, side of a thumbnail
QUALITY = 85  # of WebP; layers whose values the page reads are PNG
SAMPLED = "chosen by order"  # kind of the images that were chosen whatever their scores
LAYERS = ("input", "proxy", "reconstruction", "heat", "truth")
"""The input and the lesions' mask have the canvas's full size, the method's pictures its training size.

``heat`` holds the standardised score as gray levels; 0 and 255 are the ends of ``HEAT_RANGE``.
"""


def picture_table(
    results: Sequence[CanvasPictures],
    table: pd.DataFrame,
    column: str,
    count: int,
    tiles: Version,
    size: tuple[int, int],
) -> pd.DataFrame:
    """Thumbnails of all scored images, then every layer of the cases and of the images ``chosen`` by order alone.

    Cases are those of ``chosen_cases`` by the score ``column`` of the ``table``. ``size`` is that of a tile, px, of
    which thumbnails are made.
    """
    kinds: dict[str, str] = {}
    for kind, _, image in chosen_cases(table, column, count):
        kinds.setdefault(str(image["image_id"]), kind)
    for image_id in chosen(table)["image_id"]:
        kinds.setdefault(str(image_id), SAMPLED)
    canvas = results[0].canvas
    every = stitched(load_tiles(tiles, None, splits=SCORED_SPLITS, canvas=canvas, size=size), canvas)
    scored = set(table["image_id"])
    pictures = [
        (image_id, canvas, THUMBNAIL, "", _thumbnail(pixels))
        for image_id, pixels in zip(every.images["image_id"], every.pixels, strict=True)
        if image_id in scored
    ]
    for result in results:
        inputs = _inputs(tiles, result.canvas, list(kinds))
        for image_id, kind in kinds.items():
            layers = {"input": _webp(inputs[image_id]), **_layers(result.images[image_id])}
            pictures += [(image_id, result.canvas, layer, kind, data) for layer, data in layers.items()]
    return pd.DataFrame(pictures, columns=list(PICTURE_COLUMNS))


def _thumbnail(pixels: Array) -> bytes:
    return _webp(cv2.resize(_colours(pixels), (THUMB, THUMB), interpolation=cv2.INTER_AREA))


def _layers(image: Shown) -> dict[str, bytes]:
    """Files of every layer at the method's size, and of the lesions' mask where there is one."""
    low, high = HEAT_RANGE
    planes = {"proxy": image.proxy, "reconstruction": image.reconstruction, "heat": (image.heat - low) / (high - low)}
    files = {layer: _encoded(_codes(plane), "PNG") for layer, plane in planes.items()}
    return files if image.truth is None else files | {"truth": _encoded(image.truth, "PNG")}


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
    return _encoded(picture, "WEBP", quality=QUALITY, method=4)


def _encoded(picture: NDArray[np.generic], form: str, **options: int) -> bytes:
    """A file of a picture; a mask takes one bit per pixel."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, form, **options)
    return buffer.getvalue()
