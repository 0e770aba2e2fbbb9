"""What an evaluation keeps for reports: pictures that its page overlays, and figures and pictures to compare methods.

A row of the table of pictures is one picture: ``image_id``, ``canvas``, ``layer`` (see ``LAYERS``), ``kind`` (why the
image was chosen, empty for thumbnails) and ``data``, the bytes of a WebP or PNG file.
"""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from models.pixel_curve import PixelCurve
from pipeline.detectors.images import BLOCK, stitched
from pipeline.detectors.standardise import HEAT_RANGE
from pipeline.evaluation.carried import Result
from pipeline.evaluation.pictures import (
    Picture,
    Shown,
    ShownImages,
    chosen,
    chosen_cases,
    codes,
    colours,
    gray_picture,
    of_files,
)
from pipeline.evaluation.saved import PICTURE_COLUMNS, THUMBNAIL
from pipeline.evaluation.score_name import COMMITTEE, ScoreName
from pipeline.evaluation.scoreboard import SCORED_SPLITS
from pipeline.tiles.loading import at_size, read_neutral, tile_blocks

RESAMPLES, GALLERY = "pixel_resamples.json", "gallery.npz"
THUMB = 64  # px, side of a thumbnail
QUALITY = 85  # of WebP; layers whose values the page reads are PNG
SAMPLED = "chosen by order"  # kind of the images that were chosen whatever their scores

LAYERS = ("input", "proxy", "reconstruction", "heat", "truth")
"""The input and the lesions' mask have the canvas's full size, the method's pictures its training size.

``heat`` holds the standardised score as gray levels; 0 and 255 are the ends of ``HEAT_RANGE``. It is transparent where
nothing is scored.
"""


def picture_table(
    shown: ShownImages, table: pd.DataFrame, column: str, count: int, size: tuple[int, int]
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
    canvas, inputs = next(iter(shown.scorers)), shown.scoreboard.inputs
    tiles = inputs.tiles

    def thumbnails(missing: list[str]) -> Iterator[tuple[str, Result]]:
        for block in tile_blocks(tiles, None, canvas=canvas, splits=SCORED_SPLITS, count=BLOCK, image_ids=missing):
            seen = stitched(at_size(block, size, read_neutral(tiles.path)), canvas)
            for image_id, pixels in zip(seen.images["image_id"].astype(str), seen.pixels, strict=True):
                small = cv2.resize(colours(pixels), (THUMB, THUMB), interpolation=cv2.INTER_AREA)
                yield image_id, of_files({"webp": _webp(small)})

    scored, every = set(table["image_id"]), inputs.digests.keys(["thumbnail", size], *SCORED_SPLITS, canvas=canvas)
    found = shown.carried.each({image_id: key for image_id, key in every.items() if image_id in scored}, thumbnails)
    pictures = [(image_id, canvas, THUMBNAIL, "", one.arrays["webp"].tobytes()) for image_id, one in found.items()]
    for canvas in shown.scorers:
        for image_id, drawn in shown.drawn("layers", canvas, kinds, _layers).items():
            files = {layer: data.tobytes() for layer, data in drawn.arrays.items()}
            pictures += [(image_id, canvas, layer, kinds[image_id], data) for layer, data in files.items()]
    return pd.DataFrame(pictures, columns=list(PICTURE_COLUMNS))


def _layers(image: Shown) -> Result:
    """Files of every layer, of the lesions' mask where there is one."""
    low, high = HEAT_RANGE
    planes = {"proxy": codes(image.proxy), "reconstruction": codes(image.reconstruction)}
    heat = codes((image.heat - low) / (high - low))
    planes["heat"] = np.dstack([heat, np.where(image.scored, np.uint8(255), np.uint8(0))])
    files = {"input": _webp(image.original)}
    files |= {layer: _encoded(plane, "PNG") for layer, plane in planes.items()}
    return of_files(files if image.truth is None else files | {"truth": _encoded(image.truth, "PNG")})


def _webp(picture: Picture) -> bytes:
    return _encoded(picture, "WEBP", quality=QUALITY, method=4)


def _encoded(picture: NDArray[np.generic], form: str, **options: int) -> bytes:
    """A file of a picture; a mask takes one bit per pixel."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, form, **options)
    return buffer.getvalue()


def write_comparison(
    folder: Path,
    table: pd.DataFrame,
    curves: Mapping[str, PixelCurve],
    method: ScoreName,
    shown: ShownImages,
    resamples: int,
) -> None:
    """Write ``pixel_resamples.json`` and ``gallery.npz`` beside the evaluation.

    The resamples are bootstrap AUROCs (subset ``all``) of the pixel scores of the method and of the committee;
    resample r draws the same groups for every method, so differences of two are paired. The gallery holds the images
    of ``chosen`` for each canvas c: ``<c>/input``, ``<c>/proxy`` (predicted) and ``<c>/reconstruction`` (n, H, W)
    uint8, ``<c>/map`` (n, H, W) standardised scores, float16, and where there are masks ``<c>/truth`` bool.
    """
    kept = (method.method, COMMITTEE)
    own = {column: curve for column, curve in curves.items() if ScoreName.parse(column).method in kept}
    drawn = {
        column: curve.resampled(n=resamples, rng=np.random.default_rng(0))["auroc"]
        for column, curve in own.items()
        if len(set(curve.groups)) > 1
    }
    values = {column: [round(float(v), 6) if np.isfinite(v) else None for v in row] for column, row in drawn.items()}
    (folder / RESAMPLES).write_text(json.dumps(values) + "\n")
    images = chosen(table)
    arrays: dict[str, NDArray[np.generic]] = {name: images[name].to_numpy(str) for name in ("image_id", "klass")}
    for canvas in shown.scorers:
        pictures = [one.arrays for one in shown.drawn("gallery", canvas, images["image_id"], _gallery).values()]
        for name in ("input", "proxy", "reconstruction", "map"):
            arrays[f"{canvas}/{name}"] = np.stack([one[name] for one in pictures])
        shape = next((one["truth"].shape for one in pictures if "truth" in one), None)
        if shape is not None:
            arrays[f"{canvas}/truth"] = np.stack([one.get("truth", np.zeros(shape, bool)) for one in pictures])
    np.savez_compressed(folder / GALLERY, **arrays)  # type: ignore[arg-type]


def _gallery(image: Shown) -> Result:
    planes = {"input": image.gray, "proxy": image.proxy, "reconstruction": image.reconstruction}
    arrays: dict[str, NDArray[Any]] = {name: gray_picture(plane) for name, plane in planes.items()}
    arrays["map"] = image.heat.astype(np.float16)
    return Result(arrays=arrays if image.truth is None else arrays | {"truth": image.truth})
