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
from pipeline.detectors.neighbour import NormalResiduals
from pipeline.errors import ConfigError
from pipeline.forms.form import NO_DATA, SCORED
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, at_size, canvases, read_neutral, tile_blocks
from pipeline.training import checkpoint_folder

PIXELS = 64 * 64 * 64
"""Pixels of a batch: 64 tiles of 64×64. Larger batches are slower, because memory and not arithmetic is the limit."""


@dataclass(frozen=True)
class NetworkMaps(PixelMaps):
    """Maps of a network, with all else that it gives; planes are means over channels."""

    residual: Array  # (n, H, W) signed I − Î
    _: KW_ONLY
    steady: Array  # (n, H, W) the method's map; the mean over both mirrorings with ``flip_average``
    proxy: Array  # (n, H, W) predicted proxy
    reconstruction: Array  # (n, H, W)
    latent: Array  # (n,) ‖z − ẑ‖_F (Eq. 13), root of the sum of squares over the canvas's tiles
    image: Array  # (n,) ‖I − Î‖_F (Table V), the same way
    seconds: float  # time that the method took for all of them, without loading


@dataclass(frozen=True)
class NetworkDetector(CanvasDetector):
    """A trained method on one canvas.

    With ``ScoreConfig.fine`` the planes have the canvas's full size, and the residual is the image minus the enlarged
    reconstruction. A map that is not the residual is only enlarged.
    """

    _: KW_ONLY
    method: Method
    flip_average: bool = False  # average the map with that of the mirrored tiles (test-time augmentation)
    device: str = "auto"

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
        proxies: Version | None = None,
    ) -> Self:
        """A checkpoint; with ``ScoreConfig.beside`` the residuals of the training normals are computed.

        A method that needs true proxies gets them from ``proxies``.
        ``member`` names the folder of one of several methods in the version, ``changes`` are those of one of the
        method's ``variants``.
        """
        folder = checkpoint_folder(stage, f"{member}/{canvas}" if member else canvas)
        height, width = read_description(folder)["extra"]["size"]
        found = cls(
            canvas=canvas,
            size=(int(height), int(width)),
            score=score,
            neutral=read_neutral(tiles.path),
            method=load_method(folder, changes),
            flip_average=flip_average,
        )
        if not score.beside:
            return found
        true = proxies if found.method.needs_proxy else None
        blocks = tile_blocks(tiles, true, canvas=canvas, splits=("train",), count=BLOCK)
        seen = [found.maps(block) for block in blocks]
        return replace(found, beside=NormalResiduals.joined([NormalResiduals.of(m.images, m.steady) for m in seen]))

    def maps(self, tiles: TileSet) -> NetworkMaps:
        """Maps of ``tiles``; ``ConfigError`` if the method needs true proxies and they have none."""
        if self.method.needs_proxy and tiles.proxies is None:
            raise ConfigError(f"{self.method.name} needs true proxies, got none; choose another method")
        held = at_size(tiles if self.method.needs_proxy else replace(tiles, proxies=None), self.size, self.neutral)
        source = TensorSource.from_arrays(held.pixels, held.proxies, held.validity != NO_DATA, held.validity == SCORED)
        batch_size = max(4, PIXELS // (self.size[0] * self.size[1]))
        began = time.perf_counter()
        scores = predict(self.method, source, batch_size=batch_size, device=self.device)
        seconds = time.perf_counter() - began
        planes = {name: getattr(scores, name).numpy().mean(axis=1) for name in ("residual", "proxy", "reconstruction")}
        planes["steady"] = scores.map.numpy().mean(axis=1)
        if self.flip_average:
            mirrored = predict(self.method, source.mirrored(), batch_size=batch_size, device=self.device).map
            planes["steady"] = (planes["steady"] + mirrored.flip(-1).numpy().mean(axis=1)) / 2
        planes = {
            name: canvases(plane, held.index, self.canvas)[1].astype(np.float32) for name, plane in planes.items()
        }
        images = stitched(replace(held, proxies=None), self.canvas)
        if self.score.fine:
            whole = stitched(replace(tiles, proxies=None), self.canvas)
            differences = ("residual", "steady") if torch.equal(scores.map, scores.residual) else ("residual",)
            images, planes = whole, _at_full_size(planes, images, whole, differences)
        rows = pd.Index(images.images["image_id"]).get_indexer(pd.Index(held.index["image_id"]))
        norms = {
            name: _over_tiles(getattr(scores, name).numpy(), rows, len(images.images)) for name in ("latent", "image")
        }
        return NetworkMaps(images, self.parts_of(images, planes["steady"]), seconds=seconds, **planes, **norms)

    def write(self, folder: Path) -> None:
        """Write ``weights.safetensors`` and ``method.json``."""
        save_method(self.method, folder, stage=self.method.stages[-1].name, extra={"size": list(self.size)})


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
