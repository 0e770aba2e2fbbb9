"""Run a trained method over the images of one canvas: scores, residuals and reconstructions."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from models.checkpoint import load_method, read_description
from models.method import Method
from models.prediction import predict
from models.scoring import Array, ScoreConfig
from models.source import TensorSource
from pipeline.detectors.normal_residuals import NormalResiduals
from pipeline.detectors.scorers import CanvasImages, enlarge, stitched
from pipeline.errors import ConfigError
from pipeline.forms.form import NO_DATA, SCORED
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, canvases, load_tiles
from pipeline.training import checkpoint_folder

PIXELS = 64 * 64 * 64
"""Pixels of a batch: 64 tiles of 64×64. Larger batches are slower, because memory and not arithmetic is the limit."""


@dataclass(frozen=True)
class Prediction:
    """Output of a method on one canvas; rows are aligned with ``images``."""

    images: CanvasImages
    latent: Array  # (n,) ‖z − ẑ‖_F (Eq. 13), root of the sum of squares over the canvas's tiles
    image: Array  # (n,) ‖I − Î‖_F (Table V), the same way
    residual: Array  # (n, H, W) signed I − Î, mean over channels
    steady: Array  # (n, H, W) the map that is scored, made from the residual as ``predict_canvas`` describes
    proxy: Array  # (n, H, W) predicted proxy
    reconstruction: Array  # (n, H, W)
    seconds: float  # time that the method took for all of them, without loading
    normals: NormalResiduals | None  # of the training normals, if ``steady`` is the difference from them


def predict_canvas(
    stage: Version,
    tiles: Version,
    proxies: Version | None,
    *,
    canvas: str,
    splits: tuple[str, ...],
    score: ScoreConfig | None = None,
    flip_average: bool = False,
    changes: Mapping[str, Any] | None = None,
    member: str = "",
    more: TileSet | None = None,
    progress: bool = True,
) -> Prediction:
    """Run a checkpoint over the images of some splits, at the size it was trained at.

    ``proxies`` and ``more`` tiles are used as far as the method's inputs allow: only methods that need true proxies get
    ``proxies``, and only the others get ``more``. ``score`` decides how ``steady`` is made: a fine one needs planes of
    the canvas's full size, one with ``beside`` the residuals of the training normals. ``flip_average`` averages
    ``steady`` with that of the mirrored tiles (test-time augmentation). ``changes`` are those of one of the method's
    ``variants``; ``member`` names the folder of one of several methods in the version.
    """
    score = score or ScoreConfig()
    size = trained_size(stage, canvas, member)
    method = load_method(network_folder(stage, canvas, member), changes)
    if method.needs_proxy and proxies is None:
        raise ConfigError(f"{stage.asset}: {method.name} needs true proxies, got none; choose another method")
    true, more = (proxies, None) if method.needs_proxy else (None, more)

    def seen(splits: tuple[str, ...], more: TileSet | None) -> Prediction:
        held = load_tiles(tiles, true, splits=splits, canvas=canvas, size=size, more=more)
        full = load_tiles(tiles, None, splits=splits, canvas=canvas, more=more) if score.fine else None
        return predict_tiles(method, held, canvas=canvas, full=full, flip_average=flip_average, progress=progress)

    found = seen(splits, more)
    if not score.beside:
        return found
    train = seen(("train",), None)
    normals = NormalResiduals.of(train.images, train.steady)
    return replace(found, steady=normals.difference(found.images, found.steady, score), normals=normals)


def network_folder(stage: Version, canvas: str, member: str = "") -> Path:
    """Checkpoint of one canvas; ``member`` names one of several methods in the version."""
    return checkpoint_folder(stage, f"{member}/{canvas}" if member else canvas)


def trained_size(stage: Version, canvas: str, member: str = "") -> tuple[int, int]:
    """Rows and columns of a tile, px, at which a network was trained."""
    height, width = read_description(network_folder(stage, canvas, member))["extra"]["size"]
    return int(height), int(width)


def predict_tiles(
    method: Method,
    held: TileSet,
    *,
    canvas: str,
    full: TileSet | None = None,
    flip_average: bool = False,
    device: str = "auto",
    progress: bool = False,
) -> Prediction:
    """Run a method over tiles of one canvas, sampled down to the size it was trained at.

    With ``full``, the same tiles at full size, the planes have the canvas's full size, and the residual is the image
    minus the enlarged reconstruction. A map that is not the residual is only enlarged.
    """
    source = TensorSource.from_arrays(held.pixels, held.proxies, held.validity != NO_DATA, held.validity == SCORED)
    height, width = held.validity.shape[1:]
    batch_size = max(4, PIXELS // (height * width))
    began = time.perf_counter()
    scores = predict(method, source, batch_size=batch_size, device=device, progress=progress)
    seconds = time.perf_counter() - began
    planes = {name: getattr(scores, name).numpy().mean(axis=1) for name in ("residual", "proxy", "reconstruction")}
    planes["steady"] = scores.map.numpy().mean(axis=1)
    if flip_average:
        mirrored = predict(method, source.mirrored(), batch_size=batch_size, device=device, progress=progress).map
        planes["steady"] = (planes["steady"] + mirrored.flip(-1).numpy().mean(axis=1)) / 2
    joined = {name: canvases(plane, held.index, canvas)[1].astype(np.float32) for name, plane in planes.items()}
    images = stitched(replace(held, proxies=None), canvas)
    if full is not None:
        whole = stitched(full, canvas)
        differences = ("residual", "steady") if torch.equal(scores.map, scores.residual) else ("residual",)
        images, joined = whole, _at_full_size(joined, images, whole, differences)
    order = pd.Index(images.images["image_id"])
    rows = order.get_indexer(pd.Index(held.index["image_id"]))
    return Prediction(
        images=images,
        latent=_over_tiles(scores.latent.numpy(), rows, len(order)),
        image=_over_tiles(scores.image.numpy(), rows, len(order)),
        seconds=seconds,
        normals=None,
        **joined,
    )


def _at_full_size(
    planes: Mapping[str, Array], small: CanvasImages, whole: CanvasImages, differences: Sequence[str]
) -> dict[str, Array]:
    """Planes (n, H, W) enlarged; ``differences`` also get the detail of the image that its enlarged copy lacks."""
    shape = (whole.pixels.shape[2], whole.pixels.shape[3])
    found = {name: np.stack([enlarge(each, shape) for each in plane]) for name, plane in planes.items()}
    for row, seen in enumerate(whole.seen):
        detail = (whole.pixels[row].mean(axis=0) - enlarge(small.pixels[row].mean(axis=0), shape)) * seen
        for name in differences:
            found[name][row] = found[name][row] * seen + detail
    return found


def _over_tiles(norms: Array, rows: NDArray[np.intp], count: int) -> Array:
    """Frobenius norms (count,) over all tiles of an image; ``rows`` are the images of the tiles."""
    squares = np.bincount(rows, weights=np.square(norms, dtype=float), minlength=count)
    return np.sqrt(squares).astype(np.float32)
