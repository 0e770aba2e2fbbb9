"""Lesions pasted on held-out normals: does a map look at the lesion? No test image and no real lesion is involved.

Every copy of a normal of one split gets one lesion on each canvas, of a contrast class and a kind. Copies
are scored beside the test images by the same code; they enter no other figure.
Legend: n copies, C channels, H, W px of a canvas at full size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from models.metrics import METRICS, auroc, bootstrap_weights, percentiles
from models.scoring import Array
from models.synthetic_anomalies import HELD_BACK, LesionConfig, paste_lesions
from pipeline.detectors.scorers import enlarge
from pipeline.evaluation.records import RECORD_KEYS, Record
from pipeline.evaluation.score_name import ScoreName
from pipeline.forms.form import SCORED, TILE
from pipeline.forms.fundus import flattened
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, canvases, load_tiles

SPLIT = "pasted"
CLASSES: Mapping[str, float] = {"faint": 0.5, "medium": 1.0, "strong": 2.0}
"""Contrast classes: factor on the strengths of ``PastedConfig.lesions``, which are those of the medium one."""

TOLERANCE = 4
"""Canvas px by which the peak of a map may lie beside the lesion: one pixel of a 64-px training size."""

SPARED = 7
"""Of the pixels outside a lesion one in so many is enough for an AUROC; a lesion may have only a few, so all count."""


@dataclass(frozen=True, kw_only=True)
class PastedConfig:
    """What is pasted."""

    lesions: LesionConfig = field(default_factory=lambda: LesionConfig(kinds=KINDS, strength=(0.15, 0.25)))
    flatten: bool = False  # take the background out again, as the flat-field form did before
    seed: int = 0
    split: str = "holdout"  # whose normals; what is chosen by the figures is chosen on "val"


KINDS: tuple[str, ...] = ("blob", "ring", "noise", "dots", *HELD_BACK)


@dataclass(frozen=True)
class PastedImages:
    """Copies on one canvas; rows of ``masks``, ``scored`` and ``table`` are aligned."""

    tiles: TileSet  # as ``load_tiles`` gives them at full size; split ``SPLIT``, klass ``<contrast> <kind>``
    table: pd.DataFrame  # image_id, split, label, klass, group
    masks: NDArray[np.bool_]  # (n, H, W) pixels of the lesion
    scored: NDArray[np.bool_]  # (n, H, W)


def paste(tiles: Version, canvas: str, config: PastedConfig) -> PastedImages:
    """All copies of the normals of the split on one canvas: each once in every contrast class, kinds in turn."""
    held = load_tiles(tiles, None, splits=[config.split], canvas=canvas)
    images, pixels = canvases(held.pixels, held.index, canvas)
    _, validity = canvases(held.validity, held.index, canvas)
    rng = np.random.default_rng([config.seed, *canvas.encode()])
    kinds, (low, high) = config.lesions.kinds, config.lesions.strength
    altered, places = list[Array](), list[int]()
    masks, scored = list[NDArray[np.bool_]](), list[NDArray[np.bool_]]()
    rows, index = list[dict[str, Any]](), list[dict[str, Any]]()
    for row in range(len(images)):
        image = {str(name): value for name, value in images.iloc[row].items()}
        own = np.flatnonzero((held.index["image_id"] == image["image_id"]).to_numpy())
        codes = np.asarray(pixels[row], np.float32) / np.float32(255)
        for turn, (contrast, factor) in enumerate(CLASSES.items()):
            kind = kinds[(row + turn) % len(kinds)]
            lesion = replace(config.lesions, kinds=(kind,), strength=(low * factor, high * factor))
            changed, mask, _ = paste_lesions(codes, np.asarray(validity[row]) == SCORED, lesion, rng)
            if config.flatten:
                changed = flattened(changed, np.asarray(validity[row], np.uint8))
            named = {"image_id": f"{image['image_id']}+{contrast}", "split": SPLIT, "label": 1}
            named["klass"] = f"{contrast} {kind}"
            masks.append(mask)
            scored.append(np.asarray(validity[row]) == SCORED)
            rows.append(image | named)
            for at in own:
                tile = {str(name): value for name, value in held.index.iloc[at].items()}
                r, c = int(tile["canvas_row"]) * TILE, int(tile["canvas_col"]) * TILE
                altered.append(changed[:, r : r + TILE, c : c + TILE])
                places.append(int(at))
                index.append(tile | named)
    stored = np.rint(np.stack(altered) * 255).astype(np.uint8)
    copies = TileSet(stored, None, held.validity[places], pd.DataFrame(index))
    return PastedImages(copies, pd.DataFrame(rows), np.stack(masks), np.stack(scored))


@dataclass(frozen=True)
class Found:
    """What one map says of one copy."""

    column: str  # ``<method>:<score>``
    canvas: str
    image_id: str
    hit: float  # 1 where the peak of the map lies in the lesion
    pixel_auroc: float  # of the lesion's pixels among the scored ones


def look(
    column: str,
    canvas: str,
    image: "pd.Series[Any]",
    values: Array,
    mask: NDArray[np.bool_],
    scored: NDArray[np.bool_],
) -> Found | None:
    """Compare one map with the lesion's mask (H, W) over the scored pixels; None where all or none are the lesion's.

    The AUROC takes every pixel of the lesion, and of the others each ``SPARED``-th.
    """
    inside, outside = np.flatnonzero(mask & scored), np.flatnonzero(scored & ~mask)[::SPARED]
    if not (inside.size and outside.size):
        return None
    full = enlarge(np.asarray(values, np.float32), (mask.shape[0], mask.shape[1]))
    near = ndimage.distance_transform_edt(~mask) <= TOLERANCE
    hit = float(near.ravel()[int(np.where(scored, full, -np.inf).argmax())])
    labels = np.repeat([True, False], [inside.size, outside.size])
    area = auroc(labels, full.ravel()[np.concatenate([inside, outside])])
    return Found(column, canvas, str(image["image_id"]), hit, area)


def pasted_records(
    table: pd.DataFrame, found: list[Found], *, split: str, head: Mapping[str, Any], n_boot: int, rng_seed: int = 0
) -> list[Record]:
    """Records of level ``pasted``: ``peak_found`` and ``pixel_auroc`` of every map, ``auroc`` of every image score.

    Subsets are the contrast classes, and of the medium one each kind. A figure is the mean over copies and canvases;
    ``auroc`` sets the copies against the untouched normals of the ``split``. Intervals draw whole groups.
    """
    copies, normal = table[table["split"] == SPLIT].set_index("image_id"), table[table["split"] == split]
    seen = pd.DataFrame([vars(one) for one in found])
    klasses = copies["klass"].astype(str)
    subsets = {name: copies[klasses.str.startswith(name)] for name in CLASSES}
    subsets |= {name: copies[klasses == name] for name in sorted(set(klasses)) if name.startswith("medium")}
    records: list[Record] = []

    def record(column: str, metric: str, subset: str, measured: tuple[float, float | None, float | None, int]) -> None:
        name = ScoreName.parse(column)
        fields = {**head, "method": name.method, "score": name.score}
        fields |= {"level": "pasted", "metric": metric, "subset": subset}
        fields |= dict(zip(("value", "low", "high", "n"), measured, strict=True))
        records.append({key: fields[key] for key in RECORD_KEYS})

    for subset, part in subsets.items():
        for column in dict.fromkeys(seen["column"]) if len(seen) else ():
            own = seen[(seen["column"] == column) & seen["image_id"].isin(part.index)]
            if own.empty:
                continue
            groups = part.loc[own["image_id"], "group"].to_numpy()
            weights = bootstrap_weights(groups, n_boot, np.random.default_rng(rng_seed))
            for metric, name in (("peak_found", "hit"), ("pixel_auroc", "pixel_auroc")):
                values = own[name].to_numpy(float)
                drawn = (weights @ values) / np.maximum(weights.sum(axis=1), 1e-9)
                record(column, metric, subset, (float(values.mean()), *percentiles(drawn), len(own)))
        both = pd.concat([normal, part])
        weights = bootstrap_weights(both["group"].to_numpy(), n_boot, np.random.default_rng(rng_seed))
        for column in (name for name in table.columns if ":" in name):
            scores, altered = both[column].to_numpy(float), np.arange(len(both)) >= len(normal)
            if len(normal) and len(part) and np.isfinite(scores).all():
                drawn = METRICS["auroc"](altered, scores, weights)
                record(column, "auroc", subset, (auroc(altered, scores), *percentiles(drawn), len(both)))
    return records
