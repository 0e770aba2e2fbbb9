"""A trained network as a detector: scores, residuals and reconstructions of the images of one canvas."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from models.checkpoint import load_method, read_description, save_method
from models.method import Method
from models.prediction import predict
from models.scoring import Array, ScoreConfig
from models.source import TensorSource
from pipeline.detectors.contract import CanvasDetector, PixelMaps
from pipeline.detectors.images import BLOCK, CanvasImages, enlarge, stitched
from pipeline.detectors.normal_residuals import NormalResiduals
from pipeline.errors import ConfigError
from pipeline.forms.form import NO_DATA, SCORED
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, at_size, canvases, read_neutral, tile_blocks
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
    steady: Array  # (n, H, W) the method's map; the mean over both mirrorings with ``flip_average``
    proxy: Array  # (n, H, W) predicted proxy
    reconstruction: Array  # (n, H, W)
    seconds: float  # time that the method took for all of them, without loading


@dataclass(frozen=True)
class NetworkMaps(PixelMaps):
    """Maps of a network, with all else that it gives."""

    _: KW_ONLY
    predicted: Prediction


@dataclass(frozen=True)
class NetworkDetector(CanvasDetector):
    """A trained method on one canvas."""

    _: KW_ONLY
    method: Method
    flip_average: bool = False  # average the map with that of the mirrored tiles (test-time augmentation)
    device: str = "auto"
    progress: bool = False

    @classmethod
    def trained(
        cls,
        stage: Version,
        tiles: Version,
        canvas: str,
        score: ScoreConfig,
        *,
        flip_average: bool = False,
        member: str = "",
        changes: Mapping[str, Any] | None = None,
    ) -> Self:
        """A checkpoint; with ``ScoreConfig.beside`` the residuals of the training normals are computed.

        ``member`` names the folder of one of several methods in the version, ``changes`` are those of one of the
        method's ``variants``.
        """
        folder = network_folder(stage, canvas, member)
        found = cls(
            canvas=canvas,
            size=trained_size(stage, canvas, member),
            score=score,
            neutral=read_neutral(tiles.path),
            method=load_method(folder, changes),
            flip_average=flip_average,
        )
        if not score.beside:
            return found
        blocks = tile_blocks(tiles, None, canvas=canvas, splits=("train",), count=BLOCK)
        seen = [found.predict(block) for block in blocks]
        return replace(found, beside=NormalResiduals.joined([NormalResiduals.of(p.images, p.steady) for p in seen]))

    def predict(self, tiles: TileSet) -> Prediction:
        """Everything that the network gives for tiles at full size; ``ConfigError`` if it lacks true proxies."""
        if self.method.needs_proxy and tiles.proxies is None:
            raise ConfigError(f"{self.method.name} needs true proxies, got none; choose another method")
        shown = tiles if self.method.needs_proxy else replace(tiles, proxies=None)
        return predict_tiles(
            self.method,
            at_size(shown, self.size, self.neutral),
            canvas=self.canvas,
            full=tiles if self.score.fine else None,
            flip_average=self.flip_average,
            device=self.device,
        )

    def maps(self, tiles: TileSet) -> NetworkMaps:
        """Maps of ``tiles``."""
        found = self.predict(tiles)
        parts = self.parts_of(found.images, self.steady(found.images, found.steady))
        return NetworkMaps(found.images, parts, found.residual, predicted=found)

    def write(self, folder: Path) -> None:
        """Write ``weights.safetensors`` and ``method.json``."""
        save_method(self.method, folder, stage=self.method.stages[-1].name, extra={"size": list(self.size)})


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
