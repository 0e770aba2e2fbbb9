"""What the method is for, in numbers: is P̂ like P, is Î like I, and does Î' repair what was altered in I'?

R² is 1 − Σ(estimate − truth)² / Σ(truth − mean truth)² over the scored pixels of one image: 1 is perfect, 0 is as good
as the image's mean, below 0 is worse. Images pass in blocks, so that memory does not grow with their number.
Legend: n images, H, W px of a canvas at the training size; planes are means over channels, in [0, 1].
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.checkpoint import load_method
from models.method import Method
from models.metrics import Floats, bootstrap_weights, percentiles
from models.scoring import Array
from pipeline.detectors.inference import Prediction, network_folder, predict_tiles, trained_size
from pipeline.evaluation.records import Record, record
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, canvases, load_tiles

BLOCK = 16
"""Images that are predicted at once."""

Mask = NDArray[np.bool_]
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
        """Tiles of some splits at the size the network sees, with their true proxies where given."""
        return load_tiles(tiles, proxies, splits=splits, canvas=self.canvas, size=self.size)

    def predict(self, held: TileSet) -> Prediction:
        """What the method makes of tiles at its size."""
        seen = held if self.method.needs_proxy else replace(held, proxies=None)
        return predict_tiles(self.method, seen, canvas=self.canvas)


def seen_image(found: Prediction) -> Array:
    """I (n, H, W) as the network saw it: Î + (I − Î), where there is data."""
    image: Array = found.reconstruction + found.residual
    return image


def true_proxy(held: TileSet, canvas: str) -> Array | None:
    """P (n, H, W) of tiles with proxies, else None."""
    if held.proxies is None:
        return None
    plane = held.proxies.mean(axis=1, dtype=np.float32) / np.float32(255)
    return np.asarray(canvases(plane, held.index, canvas)[1], np.float32)


def rebuilds(found: Prediction) -> bool:
    """The method scores by what it rebuilds: its map is the residual, and there is one."""
    return bool(found.residual.any()) and np.array_equal(found.steady, found.residual)


def blocks(held: TileSet, count: int = BLOCK) -> Iterator[TileSet]:
    """The same tiles, at most ``count`` images at a time; all tiles of an image stay together."""
    names = held.index["image_id"].to_numpy()
    order = pd.unique(names)
    for part in np.array_split(order, max(1, -(-len(order) // count))):
        rows = np.flatnonzero(np.isin(names, part))
        proxies = None if held.proxies is None else held.proxies[rows]
        index = held.index.iloc[rows].reset_index(drop=True)
        yield TileSet(held.pixels[rows], proxies, held.validity[rows], index)


def r_squared(estimate: Array, truth: Array, inside: Mask) -> float:
    """R² of an estimate (H, W) inside a mask (H, W); NaN for an empty mask or a constant truth."""
    wanted = truth[inside].astype(float)
    if wanted.size < 2 or np.ptp(wanted) < 1e-6:
        return float("nan")
    missed = np.square(estimate[inside].astype(float) - wanted).sum()
    return float(1 - missed / np.square(wanted - wanted.mean()).sum())


def image_rows(network: Network, held: TileSet) -> list[Row]:
    """R² of P̂, of Î and of P (the ceiling: all that a perfect P̂ tells of I), a row an image of ``held``."""
    rows: list[Row] = []
    for block in blocks(held):
        found = network.predict(block)
        if not rebuilds(found):
            return []
        image, proxy = seen_image(found), true_proxy(block, network.canvas)
        estimates = {"reconstruction_r2": (found.reconstruction, image)}
        if proxy is not None and not np.array_equal(found.proxy, found.reconstruction):
            estimates |= {"proxy_r2": (found.proxy, proxy), "proxy_ceiling_r2": (proxy, image)}
        for row, named in enumerate(_named(found.images.images)):
            inside = found.images.scored[row]
            values = {name: r_squared(one[row], other[row], inside) for name, (one, other) in estimates.items()}
            rows.append(named | values)
    return rows


def _named(images: pd.DataFrame) -> list[Row]:
    fields = images[["image_id", "group", "split", "label"]]
    return [{str(name): value for name, value in row.items()} for row in fields.to_dict("records")]


def subsets(images: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    """Images (split, label) by the names of the report; held-out normals where the test split has no normals."""
    normal = images["label"] == 0
    split = images["split"]
    found = {
        "validation normals": images[normal & (split == "val")],
        "test normals": images[normal & (split == "test")],
        "holdout normals": images[normal & (split == "holdout")],
        "test abnormal": images[~normal & (split == "test")],
    }
    if len(found["test normals"]):
        found.pop("holdout normals")
    return {name: part for name, part in found.items() if len(part)}


def mean_with_interval(values: Floats, groups: NDArray[Any], n_boot: int) -> tuple[float, float, float, int]:
    """Mean of the defined values (n,), its 95 % interval from whole groups, and their number; NaN where undefined."""
    known = np.isfinite(values)
    kept, owners = np.asarray(values, float)[known], np.asarray(groups)[known]
    if not kept.size:
        return float("nan"), float("nan"), float("nan"), 0
    if len(set(owners)) < 2:
        return float(kept.mean()), float("nan"), float("nan"), len(kept)
    weights = bootstrap_weights(owners, n_boot, np.random.default_rng(0))
    low, high = percentiles((weights @ kept) / weights.sum(axis=1))
    return float(kept.mean()), low, high, len(kept)


def mean_records(rows: Sequence[Row], metrics: Sequence[str], head: Mapping[str, Any], n_boot: int) -> list[Record]:
    """A record for each metric and each of ``subsets``, or for each ``subset`` where the rows name it."""
    if not rows:
        return []
    table = pd.DataFrame(rows)
    named = "subset" in table
    parts = {str(k): v for k, v in table.groupby("subset", sort=False)} if named else subsets(table)
    found = []
    for metric in (name for name in metrics if name in table):
        for subset, part in parts.items():
            measured = mean_with_interval(part[metric].to_numpy(float), part["group"].to_numpy(), n_boot)
            if measured[3]:
                found.append(record({**head, "metric": metric, "subset": subset}, measured))
    return found
