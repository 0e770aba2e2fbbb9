"""How well a method predicts proxies and rebuilds images: R² of P̂ against P and of Î against I.

R² is 1 − Σ(estimate − truth)² / Σ(truth − mean truth)² over the scored pixels of one image: 1 is perfect, 0 is as good
as the image's mean, below 0 is worse. Images are processed in blocks, so that memory does not grow with their number.
Legend: n images, H, W px of a canvas at the training size; planes are means over channels, in [0, 1].
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import load_method
from models.method import Method
from models.scoring import Array
from pipeline.detectors.network import Prediction, network_folder, predict_tiles, trained_size
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, canvases, load_tiles

BLOCK = 16
"""Images that are predicted at once."""

Row = dict[str, Any]
"""image_id, group, split, label and one value a metric; NaN where a metric is not defined."""


@dataclass(frozen=True)
class Network:
    """A learned method on one canvas, at the size it was trained at."""

    method: Method
    canvas: str
    size: tuple[int, int]  # rows, columns of a tile, px

    @classmethod
    def of(cls, stage: Version, canvas: str, member: str = "") -> "Network":
        """Read a checkpoint; ``member`` names one of several methods in the version."""
        method = load_method(network_folder(stage, canvas, member))
        return cls(method, canvas, trained_size(stage, canvas, member))

    def tiles(self, tiles: Version, proxies: Version | None, splits: Collection[str]) -> TileSet:
        """Tiles of some splits at the size the network was trained at, with their true proxies where given."""
        return load_tiles(tiles, proxies, splits=splits, canvas=self.canvas, size=self.size)

    def predict(self, held: TileSet) -> Prediction:
        """Run the method on tiles at its size."""
        shown = held if self.method.needs_proxy else replace(held, proxies=None)
        return predict_tiles(self.method, shown, canvas=self.canvas)


def seen_image(predicted: Prediction) -> Array:
    """I (n, H, W) as the network saw it: Î + (I − Î), where there is data."""
    image: Array = predicted.reconstruction + predicted.residual
    return image


def true_proxy(held: TileSet, canvas: str) -> Array | None:
    """P (n, H, W) of tiles that have proxies, else None."""
    if held.proxies is None:
        return None
    plane = held.proxies.mean(axis=1, dtype=np.float32) / np.float32(255)
    return np.asarray(canvases(plane, held.index, canvas)[1], np.float32)


def rebuilds(predicted: Prediction) -> bool:
    """Whether the method rebuilds images: its map is the residual I − Î, and that is not zero everywhere."""
    return bool(predicted.residual.any()) and np.array_equal(predicted.steady, predicted.residual)


def r_squared(estimate: Array, truth: Array, inside: NDArray[np.bool_]) -> float:
    """R² of an estimate (H, W) inside a mask (H, W); NaN for an empty mask or a constant truth."""
    wanted = truth[inside].astype(float)
    if wanted.size < 2 or np.ptp(wanted) < 1e-6:
        return float("nan")
    missed = np.square(estimate[inside].astype(float) - wanted).sum()
    return float(1 - missed / np.square(wanted - wanted.mean()).sum())


def image_rows(network: Network, held: TileSet) -> list[Row]:
    """A row for each image of ``held`` with the R² of P̂, of Î and of P as an estimate of I.

    The last one is a ceiling: all that a perfect P̂ tells about I. Empty for a method that does not rebuild images.
    """
    rows: list[Row] = []
    for block in held.blocks(BLOCK):
        predicted = network.predict(block)
        if not rebuilds(predicted):
            return []
        image, proxy = seen_image(predicted), true_proxy(block, network.canvas)
        estimates = {"reconstruction_r2": (predicted.reconstruction, image)}
        if proxy is not None and not np.array_equal(predicted.proxy, predicted.reconstruction):
            estimates |= {"proxy_r2": (predicted.proxy, proxy), "proxy_ceiling_r2": (proxy, image)}
        images = predicted.images.images[["image_id", "group", "split", "label"]].to_dict("records")
        for row, (named, inside) in enumerate(zip(images, predicted.images.scored, strict=True)):
            values = {name: r_squared(one[row], other[row], inside) for name, (one, other) in estimates.items()}
            rows.append({str(name): value for name, value in named.items()} | values)
    return rows
