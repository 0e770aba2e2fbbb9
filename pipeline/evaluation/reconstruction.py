"""Records of level ``reconstruction``: what the method does to images, apart from how well it finds anomalies.

The score of a record is the canvas; each method that rebuilds images has its own. All at the training size.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.metrics import Floats, bootstrap_weights, percentiles
from models.scoring import Array
from pipeline.evaluation.fidelity import Network, blocks, image_rows, mean_records, rebuilds, seen_image
from pipeline.evaluation.memory_use import item_counts, perplexity
from pipeline.evaluation.pasted_lesions import PastedConfig
from pipeline.evaluation.records import Record, record
from pipeline.evaluation.repair import covered, repair_rows
from pipeline.evaluation.score_name import MEMBER, ScoreName
from pipeline.evaluation.scoreboard import ASKED, LaneInputs, Scoreboard
from pipeline.store.versions import Version

LEVEL = "reconstruction"
IMAGE_METRICS = ("proxy_ceiling_r2", "proxy_r2", "reconstruction_r2")


def reconstruction_records(
    board: Scoreboard,
    canvases: Sequence[str],
    pasted: PastedConfig | None,
    method: str,
    *,
    head: Mapping[str, Any],
    n_boot: int,
) -> list[Record]:
    """Every figure of the lane's method, and reconstruction and repair of the other learned methods that rebuild."""
    inputs, records = board.inputs, list[Record]()
    for canvas in canvases:
        own = {**head, "method": method, "level": LEVEL, "score": canvas}
        network = Network.of(inputs.checkpoint, canvas)
        rows = image_rows(network, network.tiles(inputs.tiles, inputs.proxies, ASKED))
        records += mean_records(rows, IMAGE_METRICS, own, n_boot)
        records += mean_records(repair_rows(network, inputs.tiles, pasted), ("repair",), own, n_boot)
        if inputs.dataset.lesions:
            records += lesion_records(board, network, own, n_boot)
        records += memory_records(board, canvas, own, n_boot)
        if inputs.members is not None:
            records += member_records(inputs, inputs.members, canvas, pasted, own, n_boot)
    return records


def member_records(
    inputs: LaneInputs,
    members: Version,
    canvas: str,
    pasted: PastedConfig | None,
    head: Mapping[str, Any],
    n_boot: int,
) -> list[Record]:
    """``reconstruction_r2`` and ``repair`` of the other learned methods; none for those that only mark pixels."""
    records: list[Record] = []
    for name in members.meta["members"]:
        own = {**head, "method": ScoreName(kind=MEMBER, owner=name).method}
        network = Network.of(members, canvas, name)
        proxies = inputs.proxies if network.method.needs_proxy else None
        rows = image_rows(network, network.tiles(inputs.tiles, proxies, ASKED))
        records += mean_records(rows, ("reconstruction_r2",), own, n_boot)
        records += mean_records(repair_rows(network, inputs.tiles, pasted), ("repair",), own, n_boot)
    return records


def lesion_records(board: Scoreboard, network: Network, head: Mapping[str, Any], n_boot: int) -> list[Record]:
    """``lesion_kept``: R² of Î against I over all lesion pixels of the test images, pooled; n counts images.

    Pooled, as many lesions are a few pixels small. High where the reconstruction shows the lesion too.
    """
    truth, _, order = board.truth(network.canvas)
    sums, groups = list[Floats](), list[str]()
    for block in blocks(network.tiles(board.inputs.tiles, board.inputs.proxies, ("test",))):
        found = network.predict(block)
        if not rebuilds(found):
            return []
        image = seen_image(found)
        for row, (name, group) in enumerate(found.images.images[["image_id", "group"]].to_numpy()):
            mask = covered(truth[order[name]].any(axis=0), image[row].shape) & found.images.scored[row]
            if mask.any():
                sums.append(pixel_sums(found.reconstruction[row], image[row], mask))
                groups.append(str(group))
    if not sums:
        return []
    value = float(pooled_r_squared(np.ones((1, len(sums))), np.stack(sums))[0])
    low, high = _interval(lambda weights: pooled_r_squared(weights, np.stack(sums)), groups, n_boot)
    fields = {**head, "metric": "lesion_kept", "subset": "test lesions"}
    return [record(fields, (value, low, high, len(sums)))] if np.isfinite(value) else []


def pixel_sums(estimate: Array, truth: Array, inside: NDArray[np.bool_]) -> Floats:
    """Pixels, Σ truth, Σ truth² and Σ(estimate − truth)² inside a mask (H, W)."""
    wanted, guess = truth[inside].astype(float), estimate[inside].astype(float)
    return np.array([wanted.size, wanted.sum(), np.square(wanted).sum(), np.square(guess - wanted).sum()])


def pooled_r_squared(weights: Floats, sums: Floats) -> Floats:
    """R² (R,) over the pixels of all images, from weights (R, n) and ``pixel_sums`` (n, 4); NaN for constant truth."""
    count, total, square, missed = (weights @ sums).T
    spread = square - np.square(total) / np.maximum(count, 1)
    defined = spread > 1e-9
    return np.where(defined, 1 - missed / np.where(defined, spread, 1), np.nan)


def memory_records(board: Scoreboard, canvas: str, head: Mapping[str, Any], n_boot: int) -> list[Record]:
    """``memory_perplexity`` and ``memory_items_used`` on validation normals; none for a method without a memory.

    A resample holds fewer different images, so the interval of the items used lies below or at the value.
    """
    counted = item_counts(board.inputs.checkpoint, board.inputs.tiles, canvas)
    if counted is None:
        return []
    index, counts = counted
    groups = index["group"].astype(str).tolist()
    found = []
    for metric, figure in (("memory_perplexity", perplexity), ("memory_items_used", _used)):
        value = float(figure(counts.sum(axis=0, keepdims=True))[0])
        low, high = _interval(partial(_of_weights, figure, counts), groups, n_boot)
        measured = (value, low, high, index["image_id"].nunique())
        found.append(record({**head, "metric": metric, "subset": "validation normals"}, measured))
    return found


def _of_weights(figure: Callable[[Floats], Floats], values: Floats, weights: Floats) -> Floats:
    """A figure (R,) of sums over images, of values (n, k) drawn by weights (R, n)."""
    return figure(weights @ values)


def _used(counts: Floats) -> Floats:
    """Items (r,) that any position took."""
    used: Floats = (counts > 0).sum(axis=1).astype(float)
    return used


def _interval(figure: Callable[[Floats], Floats], groups: Sequence[str], n_boot: int) -> tuple[float, float]:
    """95 % interval of a figure of weights (R, n), drawing whole groups; NaN where there is a single one."""
    if len(set(groups)) < 2:
        return float("nan"), float("nan")
    return percentiles(figure(bootstrap_weights(groups, n_boot, np.random.default_rng(0))))
