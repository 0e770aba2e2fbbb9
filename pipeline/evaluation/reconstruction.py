"""Records of level ``reconstruction``: what a method does to images, apart from how well it finds anomalies.

The score of a record is the canvas. All figures are measured at the training size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.metrics import Floats
from models.scoring import Array
from pipeline.evaluation.fidelity import BLOCK, Network, Row, image_rows, rebuilds, seen_image
from pipeline.evaluation.memory_use import item_counts, items_used, perplexity
from pipeline.evaluation.pasted_lesions import Mask, PastedConfig
from pipeline.evaluation.records import Estimate, Record, RecordContext, estimate, mean_estimate
from pipeline.evaluation.repair import covered, repair_rows
from pipeline.evaluation.score_name import MEMBER, ScoreName
from pipeline.evaluation.scoreboard import SCORED_SPLITS, LaneInputs, Scoreboard

LEVEL = "reconstruction"
VALIDATION = "validation normals"

Figure = tuple[str, str, Estimate]
"""(metric, subset, estimate)."""


def reconstruction_records(
    scoreboard: Scoreboard,
    canvases: Sequence[str],
    pasted: PastedConfig | None,
    method: ScoreName,
    context: RecordContext,
) -> list[Record]:
    """Every figure of the lane's method; R² of Î and repair of the other learned methods that rebuild images."""
    inputs, records = scoreboard.inputs, list[Record]()

    def add(name: ScoreName, figures: Iterator[Figure]) -> None:
        records.extend(context.record(name, LEVEL, *figure) for figure in figures)

    for canvas in canvases:
        own, network = replace(method, score=canvas), Network.of(inputs.checkpoint, canvas)
        rows = image_rows(network, network.tiles(inputs.tiles, inputs.proxies, SCORED_SPLITS))
        add(own, mean_figures(rows, ("proxy_ceiling_r2", "proxy_r2", "reconstruction_r2"), context))
        add(own, mean_figures(repair_rows(network, inputs.tiles, pasted), ("repair",), context))
        add(own, lesion_figures(scoreboard, network, context))
        add(own, memory_figures(inputs, canvas, context))
        for member, (version, folder) in inputs.networks.others.items():
            name, network = ScoreName(kind=MEMBER, owner=member, score=canvas), Network.of(version, canvas, folder)
            proxies = inputs.proxies if network.method.needs_proxy else None
            rows = image_rows(network, network.tiles(inputs.tiles, proxies, SCORED_SPLITS))
            add(name, mean_figures(rows, ("reconstruction_r2",), context))
            add(name, mean_figures(repair_rows(network, inputs.tiles, pasted), ("repair",), context))
    return records


def mean_figures(rows: Sequence[Row], metrics: Sequence[str], context: RecordContext) -> Iterator[Figure]:
    """The mean of each metric that the rows have, for each ``subset`` that they name, else for each of ``subsets``."""
    if not rows:
        return
    table = pd.DataFrame(rows)
    parts = dict(list(table.groupby("subset", sort=False))) if "subset" in table else subsets(table)
    for metric in (name for name in metrics if name in table):
        for subset, part in parts.items():
            measured = defined_mean(part[metric].to_numpy(float), part["group"].to_numpy(), context)
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


def defined_mean(values: Floats, groups: NDArray[Any], context: RecordContext) -> Estimate:
    """Mean of the finite values (n,) with its interval, and their number; NaN where there are none."""
    known = np.isfinite(values)
    if not known.any():
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    return mean_estimate(values[known], context.weights(groups[known]))


def lesion_figures(scoreboard: Scoreboard, network: Network, context: RecordContext) -> Iterator[Figure]:
    """``lesion_kept``: R² of Î against I over all lesion pixels of the test images, pooled; n counts images.

    Pooled, because many lesions are a few pixels small. High where the reconstruction shows the lesion too. None for
    data without lesion masks and for methods that do not rebuild images.
    """
    inputs, sums, groups = scoreboard.inputs, list[Floats](), list[str]()
    if not inputs.dataset.lesions:
        return
    truth = scoreboard.truth(network.canvas)
    for block in network.tiles(inputs.tiles, inputs.proxies, ("test",)).blocks(BLOCK):
        predicted = network.predict(block)
        if not rebuilds(predicted):
            return
        image = seen_image(predicted)
        for row, (name, group) in enumerate(predicted.images.images[["image_id", "group"]].to_numpy()):
            lesions = truth.lesions[truth.rows[name]].any(axis=0)
            mask = covered(lesions, image[row].shape) & predicted.images.scored[row]
            if mask.any():
                sums.append(pixel_sums(predicted.reconstruction[row], image[row], mask))
                groups.append(str(group))
    if sums:
        pooled = np.stack(sums)
        value = pooled_r_squared(np.ones((1, len(sums))), pooled)[0]
        if np.isfinite(value):
            resampled = pooled_r_squared(context.weights(groups), pooled)
            yield "lesion_kept", "test lesions", estimate(value, resampled, len(sums))


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


def memory_figures(inputs: LaneInputs, canvas: str, context: RecordContext) -> Iterator[Figure]:
    """``memory_perplexity`` and ``memory_items_used`` on validation normals; none for a method without a memory.

    A resample holds fewer different images, so the interval of the items used lies below or at the value.
    """
    counted = item_counts(inputs.checkpoint, inputs.tiles, canvas)
    if counted is None:
        return
    index, counts = counted
    weights, images = context.weights(index["group"].astype(str).tolist()), index["image_id"].nunique()
    for metric, figure in (("memory_perplexity", perplexity), ("memory_items_used", items_used)):
        value = figure(counts.sum(axis=0, keepdims=True))[0]
        yield metric, VALIDATION, estimate(value, figure(weights @ counts), images)
