"""Records of level ``reconstruction``: what a method does to images, apart from how well it finds anomalies.

The score of a record is the canvas. All figures are measured at the training size.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.metrics import Floats
from models.nets.memory import Lookup, Memory
from models.scoring import Array, Mask, ScoreConfig
from pipeline.detectors.network import NetworkDetector
from pipeline.evaluation.carried import Carried, Make, Result
from pipeline.evaluation.fidelity import BLOCK, Row, covered, image_rows, rebuilds, repair_rows, seen_image
from pipeline.evaluation.pasted_lesions import PastedConfig
from pipeline.evaluation.records import Estimate, Record, RecordContext, estimate, mean_estimate
from pipeline.evaluation.score_name import MEMBER, ScoreName
from pipeline.evaluation.scoreboard import SCORED_SPLITS, Scoreboard
from pipeline.store.versions import Version, fingerprint
from pipeline.tiles.loading import TileSet, at_size, load_tiles, read_index, tile_blocks

LEVEL = "reconstruction"
NAMED = ("image_id", "group", "split", "label")
VALIDATION = "validation normals"

Figure = tuple[str, str, Estimate]
"""(metric, subset, estimate)."""


def reconstruction_records(
    scoreboard: Scoreboard,
    canvases: Sequence[str],
    pasted: PastedConfig | None,
    method: ScoreName,
    context: RecordContext,
    carried: Carried,
    recipe: str,
) -> list[Record]:
    """Every figure of the lane's method; R² of Î and repair of the other learned methods that rebuild images."""
    inputs, records = scoreboard.inputs, list[Record]()
    networks = {method.owner: (inputs.stage, "")} | inputs.others
    for canvas in canvases:
        for owner, (version, folder) in networks.items():
            own = owner == method.owner
            name = replace(method, score=canvas) if own else ScoreName(kind=MEMBER, owner=owner, score=canvas)
            network = NetworkDetector.trained(version, inputs.tiles, canvas, ScoreConfig(), member=folder)
            measured = NetworkRows(scoreboard, network, carried, f"{recipe}/{canvas}/{owner}")
            metrics = ("proxy_ceiling_r2", "proxy_r2", "reconstruction_r2") if own else ("reconstruction_r2",)
            figures = [*mean_figures(measured.fidelity(), metrics, context)]
            figures += mean_figures(measured.repair(pasted), ("repair",), context)
            if own:
                figures += lesion_figures(measured, context)
                figures += memory_figures(measured, context)
            records += [context.record(name, LEVEL, *figure) for figure in figures]
    return records


@dataclass(frozen=True)
class NetworkRows:
    """What one network does to single images; rows that are known are carried over."""

    scoreboard: Scoreboard
    network: NetworkDetector
    carried: Carried
    recipe: str

    def fidelity(self) -> list[Row]:
        """Rows of ``image_rows`` of all images; none for a method that does not rebuild images."""
        table = self.scoreboard.table.set_index("image_id")[["group", "split", "label"]]
        found = self._each(f"{self.recipe}/fidelity", SCORED_SPLITS, self._fidelity)
        rows = ({"image_id": image_id, **table.loc[image_id], **result.values} for image_id, result in found.items())
        return list(rows) if all(result.values for result in found.values()) else []

    def repair(self, pasted: PastedConfig | None) -> list[Row]:
        """Rows of ``repair_rows``, which depend on validation normals alone."""
        inputs, key = self.scoreboard.inputs, fingerprint(self.recipe, "repair")
        known = self.carried.get(key)
        if known is None:
            known = self.carried.put(key, Result(repair_rows(self.network, inputs.tiles, pasted)))
            self.carried.save()
        return list(known.values)

    def items(self) -> Floats:
        """Counts (n, items) of ``item_counts``, which depend on validation normals alone; (0, 0) without a memory."""
        inputs, key = self.scoreboard.inputs, fingerprint(self.recipe, "items")
        known = self.carried.get(key)
        if known is None:
            counts = item_counts(inputs.stage, inputs.tiles, self.network.canvas)
            known = self.carried.put(key, Result(arrays={"counts": counts}))
            self.carried.save()
        found: Floats = known.arrays["counts"]
        return found

    def lesions(self) -> dict[str, Floats]:
        """Image id → ``pixel_sums`` of Î against I in the lesions of a test image, where any is seen."""
        found = self._each(f"{self.recipe}/lesions", ("test",), self._lesions)
        return {image_id: np.array(result.values) for image_id, result in found.items() if result.values}

    def _each(self, recipe: str, splits: Sequence[str], make: Make) -> dict[str, Result]:
        keys = self.scoreboard.inputs.digests.keys(recipe, *splits, canvas=self.network.canvas)
        return self.carried.each(keys, make)

    def _blocks(self, image_ids: Collection[str], splits: Sequence[str]) -> Iterator[TileSet]:
        inputs, network = self.scoreboard.inputs, self.network
        blocks = tile_blocks(
            inputs.tiles, inputs.proxies, canvas=network.canvas, splits=splits, count=BLOCK, image_ids=image_ids
        )
        return (at_size(block, network.size, network.neutral) for block in blocks)

    def _fidelity(self, image_ids: Collection[str]) -> Iterator[tuple[str, Result]]:
        for block in self._blocks(image_ids, SCORED_SPLITS):
            rows = {row["image_id"]: row for row in image_rows(self.network, block)}
            for image_id in pd.unique(block.index["image_id"]):
                values = {name: value for name, value in rows.get(image_id, {}).items() if name not in NAMED}
                yield image_id, Result(values)

    def _lesions(self, image_ids: Collection[str]) -> Iterator[tuple[str, Result]]:
        truth = self.scoreboard.truth(self.network.canvas)
        for block in self._blocks(image_ids, ("test",)):
            found = self.network.maps(block)
            image, known = seen_image(found), rebuilds(found)
            for row, image_id in enumerate(found.images.images["image_id"]):
                lesions = np.asarray(truth.lesions(image_id).any(axis=0))
                mask = covered(lesions, image[row].shape) & found.images.scored[row]
                seen = known and bool(mask.any())
                sums = pixel_sums(found.reconstruction[row], image[row], mask).tolist() if seen else []
                yield image_id, Result(sums)


def mean_figures(rows: Sequence[Row], metrics: Sequence[str], context: RecordContext) -> Iterator[Figure]:
    """The mean of each metric that the rows have, for each ``subset`` that they name, else for each of ``subsets``.

    Rows with a ``weight`` are weighted by it.
    """
    if not rows:
        return
    table = pd.DataFrame(rows)
    parts = dict(list(table.groupby("subset", sort=False))) if "subset" in table else subsets(table)
    for metric in (name for name in metrics if name in table):
        for subset, part in parts.items():
            worth = part["weight"].to_numpy(float) if "weight" in part else None
            measured = defined_mean(part[metric].to_numpy(float), part["group"].to_numpy(), context, worth)
            if measured.n:
                yield metric, str(subset), measured


def subsets(images: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    """Images (split, label) by the names of the report; held-out normals where the test split has no normals."""
    normal, split = images["label"] == 0, images["split"]
    found = {
        VALIDATION: images[normal & (split == "val")],
        "test normals": images[normal & (split == "test")],
        "holdout normals": images[normal & (split == "holdout")],
        "test abnormal": images[~normal & (split == "test")],
    }
    if len(found["test normals"]):
        found.pop("holdout normals")
    return {name: part for name, part in found.items() if len(part)}


def defined_mean(values: Floats, groups: NDArray[Any], context: RecordContext, worth: Floats | None = None) -> Estimate:
    """Mean of the finite values (n,), weighted by ``worth``, with its interval and their number; NaN without any."""
    known = np.isfinite(values)
    if not known.any():
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    return mean_estimate(values[known], context.weights(groups[known]), None if worth is None else worth[known])


def lesion_figures(measured: NetworkRows, context: RecordContext) -> Iterator[Figure]:
    """``lesion_kept``: R² of Î against I over all lesion pixels of the test images, pooled; n counts images.

    Pooled, because many lesions are a few pixels small. High where the reconstruction shows the lesion too. None for
    data without lesion masks and for methods that do not rebuild images.
    """
    if not measured.scoreboard.inputs.dataset.lesions or not (sums := measured.lesions()):
        return
    groups = measured.scoreboard.table.set_index("image_id")["group"].astype(str)
    pooled = np.stack(list(sums.values()))
    value = pooled_r_squared(np.ones((1, len(pooled))), pooled)[0]
    if np.isfinite(value):
        resampled = pooled_r_squared(context.weights(groups[list(sums)].tolist()), pooled)
        yield "lesion_kept", "test lesions", estimate(value, resampled, len(pooled))


def pixel_sums(values: Array, truth: Array, inside: Mask) -> Floats:
    """Pixels, Σ truth, Σ truth² and Σ(values − truth)² inside a mask (H, W)."""
    wanted, guess = truth[inside].astype(float), values[inside].astype(float)
    return np.array([wanted.size, wanted.sum(), np.square(wanted).sum(), np.square(guess - wanted).sum()])


def pooled_r_squared(weights: Floats, sums: Floats) -> Floats:
    """R² (R,) over the pixels of all images, from weights (R, n) and ``pixel_sums`` (n, 4); NaN for constant truth."""
    count, total, square, missed = (weights @ sums).T
    spread = square - np.square(total) / np.maximum(count, 1)
    defined = spread > 1e-9
    return np.where(defined, 1 - missed / np.where(defined, spread, 1), np.nan)


def memory_figures(measured: NetworkRows, context: RecordContext) -> Iterator[Figure]:
    """``memory_perplexity`` and ``memory_items_used`` on validation normals; none for a method without a memory.

    A resample holds fewer different images, so the interval of the items used lies below or at the value.
    """
    counts = measured.items()
    if not counts.size:
        return
    index = read_index(measured.scoreboard.inputs.tiles)
    index = index[(index["split"] == "val") & (index["canvas"] == measured.network.canvas)]
    weights, images = context.weights(index["group"].astype(str).tolist()), index["image_id"].nunique()
    for metric, figure in (("memory_perplexity", perplexity), ("memory_items_used", items_used)):
        value = figure(counts.sum(axis=0, keepdims=True))[0]
        yield metric, VALIDATION, estimate(value, figure(weights @ counts), images)


def item_counts(trained: Version, tiles: Version, canvas: str) -> Floats:
    """How many positions of each of the validation normals' n tiles took each item (n, items).

    (0, 0) without a memory.
    """
    network = NetworkDetector.trained(trained, tiles, canvas, ScoreConfig())
    memories = [module for module in network.method.modules() if isinstance(module, Memory)]
    if not memories:
        return np.empty((0, 0))
    items, counts = len(memories[0].items), list[Tensor]()

    def count(module: Any, given: Any, found: Lookup) -> None:
        counts.append(torch.bincount(found.index.flatten().cpu(), minlength=items))

    memories[0].register_forward_hook(count)
    held = load_tiles(tiles, None, splits=["val"], canvas=canvas, size=network.size)
    network.maps(held)
    calls = torch.stack(counts).reshape(len(held.index), -1, items)  # tiles are scored one after the other
    return calls.sum(dim=1).numpy().astype(float)


def perplexity(counts: Floats) -> Floats:
    """Perplexity (r,) of the shares of counts (r, items): exp of their entropy, 1 to ``items``."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    spread: Floats = np.exp(-(share * np.log(np.maximum(share, 1e-12))).sum(axis=1))
    return spread


def items_used(counts: Floats) -> Floats:
    """How many items (r,) have a count above 0, from counts (r, items)."""
    used: Floats = (counts > 0).sum(axis=1).astype(float)
    return used
