"""What an evaluation keeps for reports: pictures that its page overlays, and figures and pictures to compare methods.

A row of the table of pictures is one picture: ``image_id``, ``canvas``, ``layer`` (see ``LAYERS``), ``kind`` (why the
image was chosen, empty for thumbnails) and ``data``, the bytes of a WebP or PNG file.
"""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from models.pixel_curve import PixelCurve
from models.scoring import Array
from pipeline.detectors.images import BLOCK, stitched
from pipeline.detectors.standardise import HEAT_RANGE
from pipeline.evaluation.carried import Carried, Result
from pipeline.evaluation.pictures import Picture, Pictures, Shown, chosen, chosen_cases, gray_picture
from pipeline.evaluation.saved import PICTURE_COLUMNS, THUMBNAIL
from pipeline.evaluation.score_name import COMMITTEE, ScoreName
from pipeline.evaluation.scoreboard import SCORED_SPLITS, LaneInputs
from pipeline.tiles.loading import at_size, read_neutral, tile_blocks, tiles_of

RESAMPLES, GALLERY = "pixel_resamples.json", "gallery.npz"
THUMB = 64  # px, side of a thumbnail
QUALITY = 85  # of WebP; layers whose values the page reads are PNG
SAMPLED = "chosen by order"  # kind of the images that were chosen whatever their scores

LAYERS = ("input", "proxy", "reconstruction", "heat", "truth")
"""The input and the lesions' mask have the canvas's full size, the method's pictures its training size.

``heat`` holds the standardised score as gray levels; 0 and 255 are the ends of ``HEAT_RANGE``.
"""


def picture_table(
    results: Pictures,
    table: pd.DataFrame,
    column: str,
    count: int,
    inputs: LaneInputs,
    size: tuple[int, int],
    carried: Carried,
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
    canvas, tiles = next(iter(results)), inputs.tiles

    def thumbnails(missing: list[str]) -> Iterator[tuple[str, Result]]:
        for block in tile_blocks(tiles, None, canvas=canvas, splits=SCORED_SPLITS, count=BLOCK, image_ids=missing):
            seen = stitched(at_size(block, size, read_neutral(tiles.path)), canvas)
            for image_id, pixels in zip(seen.images["image_id"].astype(str), seen.pixels, strict=True):
                small = cv2.resize(_colours(pixels), (THUMB, THUMB), interpolation=cv2.INTER_AREA)
                yield image_id, Result(arrays={"webp": np.frombuffer(_webp(small), np.uint8)})

    scored, every = set(table["image_id"]), inputs.digests.keys(["thumbnail", size], *SCORED_SPLITS, canvas=canvas)
    found = carried.each({image_id: key for image_id, key in every.items() if image_id in scored}, thumbnails)
    pictures = [(image_id, canvas, THUMBNAIL, "", one.arrays["webp"].tobytes()) for image_id, one in found.items()]
    for canvas, images in results.items():
        whole = stitched(tiles_of(tiles, None, canvas=canvas, image_ids=list(kinds)), canvas)
        originals = dict(zip(whole.images["image_id"].astype(str), whole.pixels, strict=True))
        for image_id, kind in kinds.items():
            layers = {"input": _webp(_colours(originals[image_id])), **_layers(images[image_id])}
            pictures += [(image_id, canvas, layer, kind, data) for layer, data in layers.items()]
    return pd.DataFrame(pictures, columns=list(PICTURE_COLUMNS))


def _layers(image: Shown) -> dict[str, bytes]:
    """Files of every layer at the method's size, and of the lesions' mask where there is one."""
    low, high = HEAT_RANGE
    planes = {"proxy": image.proxy, "reconstruction": image.reconstruction, "heat": (image.heat - low) / (high - low)}
    files = {layer: _encoded(_codes(plane), "PNG") for layer, plane in planes.items()}
    return files if image.truth is None else files | {"truth": _encoded(image.truth, "PNG")}


def _codes(values: Array) -> Picture:
    codes: Picture = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return codes


def _colours(pixels: Array) -> Picture:
    """Pixels (C, H, W) in [0, 1] as a picture: (H, W, 3) where there are three channels, else (H, W)."""
    return np.ascontiguousarray(_codes(np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0]))


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
    results: Pictures,
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
    shown = chosen(table)
    arrays: dict[str, NDArray[np.generic]] = {name: shown[name].to_numpy(str) for name in ("image_id", "klass")}
    for canvas, images in results.items():
        seen = [images[str(image_id)] for image_id in shown["image_id"]]
        for name, plane in (("input", "gray"), ("proxy", "proxy"), ("reconstruction", "reconstruction")):
            arrays[f"{canvas}/{name}"] = np.stack([gray_picture(getattr(one, plane)) for one in seen])
        arrays[f"{canvas}/map"] = np.stack([one.heat for one in seen]).astype(np.float16)
        shape = next((one.truth.shape for one in seen if one.truth is not None), None)
        if shape is not None:
            truth = [np.zeros(shape, bool) if one.truth is None else one.truth for one in seen]
            arrays[f"{canvas}/truth"] = np.stack(truth)
    np.savez_compressed(folder / GALLERY, **arrays)  # type: ignore[arg-type]
