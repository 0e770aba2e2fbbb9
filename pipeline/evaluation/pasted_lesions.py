"""Lesions pasted on held-out normals: does a map point at the lesion? No test image and no real lesion is involved.

Every normal of one split is copied once per contrast class; each copy gets a lesion on every canvas. Copies are scored
beside the test images by the same code and enter no other figure.
Legend: n copies, C channels, H, W px of a canvas at full size, R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import ndimage

from models.metrics import METRICS, auroc
from models.scoring import Array, Mask
from models.synthetic_anomalies import HELD_BACK, LesionConfig, paste_lesions
from pipeline.detectors.images import enlarge
from pipeline.evaluation.records import Record, RecordContext, estimate, mean_estimate, resampled, seeded_weights
from pipeline.evaluation.score_name import ScoreName
from pipeline.forms.form import SCORED, TILE
from pipeline.forms.fundus import flattened
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, canvases, load_tiles, read_index

SPLIT = "pasted"
CLASSES: Mapping[str, float] = {"faint": 0.5, "medium": 1.0, "strong": 2.0}
"""Contrast class → factor on the strengths of ``PastedConfig.lesions``."""

TOLERANCE = 4  # canvas px by which the peak of a map may miss the lesion: one pixel of a 64-px training size
STRIDE = 7
"""Every 7th pixel outside the lesion enters the AUROC, which is enough; inside all do, as there may be only a few."""

KINDS: tuple[str, ...] = ("blob", "ring", "noise", "dots", *HELD_BACK)  # kinds of lesions that are pasted by default


@dataclass(frozen=True, kw_only=True)
class PastedConfig:
    """What is pasted."""

    lesions: LesionConfig = field(default_factory=lambda: LesionConfig(kinds=KINDS, strength=(0.15, 0.25)))
    flatten: bool = False  # remove the background again after pasting, as the flat-field form did before
    seed: int = 0
    split: str = "holdout"  # whose normals; "val" where the figures choose between configurations


@dataclass(frozen=True)
class PastedImages:
    """Copies on one canvas; rows of ``masks``, ``scored`` and ``table`` are aligned."""

    tiles: TileSet  # as ``load_tiles`` gives them at full size; split ``SPLIT``, klass ``<contrast> <kind>``
    table: pd.DataFrame  # image_id, split, label, klass, group
    masks: Mask  # (n, H, W) pixels of the lesion
    scored: Mask  # (n, H, W)

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Image id → row."""
        return {str(image_id): row for row, image_id in enumerate(self.table["image_id"])}


@dataclass(frozen=True)
class PlannedCopies:
    """Copies of the normals of the split on one canvas, one for each contrast class; kinds take turns."""

    tiles: Version
    canvas: str
    config: PastedConfig

    @cached_property
    def index(self) -> pd.DataFrame:
        """Index of the copies' tiles, one copy after the other; ``source`` numbers the tiles of the normals."""
        index = read_index(self.tiles)
        index = index[(index["split"] == self.config.split) & (index["canvas"] == self.canvas)]
        images, names = pd.factorize(index["image_id"])
        held = np.split(np.argsort(images, kind="stable"), np.cumsum(np.bincount(images))[:-1])  # rows of each image
        turns = list(CLASSES)
        rows = [(own, name, turn) for own, name in zip(held, names, strict=True) for turn in turns]
        copy = np.repeat(range(len(rows)), [len(own) for own, _, _ in rows])
        source = np.concatenate([own for own, _, _ in rows])
        copies = index.iloc[source].assign(source=source, split=SPLIT, label=1)
        copies["image_id"] = [f"{rows[number][1]}+{rows[number][2]}" for number in copy]
        copies["klass"] = [f"{rows[number][2]} {self._kind(number)}" for number in copy]
        return copies.reset_index(drop=True)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a copy: image_id, split, label, klass, group and more."""
        return self.index.drop_duplicates("image_id").reset_index(drop=True)

    @cached_property
    def names(self) -> frozenset[str]:
        """Image ids of the copies."""
        return frozenset(self.table["image_id"])

    @cached_property
    def painted(self) -> PastedImages:
        """The copies themselves, made at first use."""
        low, high = self.config.lesions.strength
        factors = list(CLASSES.values()) * (len(self.table) // len(CLASSES))
        lesions = [
            replace(self.config.lesions, kinds=(self._kind(number),), strength=(low * factor, high * factor))
            for number, factor in enumerate(factors)
        ]
        held = load_tiles(self.tiles, None, splits=[self.config.split], canvas=self.canvas)
        chosen = self.index["source"].to_numpy()
        copies = TileSet(held.pixels[chosen], None, held.validity[chosen], self.index)
        rng = np.random.default_rng([self.config.seed, *self.canvas.encode()])
        altered, masks = with_lesions(copies, self.canvas, lesions, self.config.flatten, rng)
        table, validity = canvases(altered.validity, altered.index, self.canvas)
        return PastedImages(altered, table, masks, validity == SCORED)

    def _kind(self, number: int) -> str:
        image, turn = divmod(number, len(CLASSES))
        return self.config.lesions.kinds[(image + turn) % len(self.config.lesions.kinds)]


def with_lesions(
    held: TileSet, canvas: str, lesions: Sequence[LesionConfig], flatten: bool, rng: np.random.Generator
) -> tuple[TileSet, Mask]:
    """Tiles at full size with lesions pasted on the canvas of each image, and the masks (n, H, W) of the canvases.

    ``lesions`` has one entry per image, in order of first appearance; ``flatten`` as in `PastedConfig`.
    """
    images, pixels = canvases(held.pixels, held.index, canvas)
    _, validity = canvases(held.validity, held.index, canvas)
    stored, masks = held.pixels.copy(), list[Mask]()
    corners = held.index[["canvas_row", "canvas_col"]].to_numpy(int) * TILE
    for row, (image_id, lesion) in enumerate(zip(images["image_id"], lesions, strict=True)):
        values = np.asarray(pixels[row], np.float32) / np.float32(255)
        changed, mask, _ = paste_lesions(values, np.asarray(validity[row]) == SCORED, lesion, rng)
        if flatten:
            changed = flattened(changed, np.asarray(validity[row], np.uint8))
        codes = np.rint(changed * 255).astype(np.uint8)
        masks.append(mask)
        for tile in np.flatnonzero((held.index["image_id"] == image_id).to_numpy()):
            top, left = corners[tile]
            stored[tile] = codes[:, top : top + TILE, left : left + TILE]
    return replace(held, pixels=stored), np.stack(masks)


@dataclass(frozen=True)
class LesionHit:
    """How well one map shows the lesion of one copy."""

    name: ScoreName  # of the map's score
    image_id: str
    peak_found: float  # 1 where the peak of the map lies in the lesion, else 0
    pixel_auroc: float  # of the lesion's pixels among the scored ones


def lesion_hit(name: ScoreName, image_id: str, values: Array, mask: Mask, scored: Mask) -> LesionHit | None:
    """Compare a map of any size with a lesion's mask (H, W) over scored pixels; None where it covers none or all."""
    inside, outside = np.flatnonzero(mask & scored), np.flatnonzero(scored & ~mask)[::STRIDE]
    if not (inside.size and outside.size):
        return None
    full = enlarge(np.asarray(values, np.float32), (mask.shape[0], mask.shape[1]))
    near = ndimage.distance_transform_edt(~mask) <= TOLERANCE
    peak = int(np.where(scored, full, -np.inf).argmax())
    labels = np.repeat([True, False], [inside.size, outside.size])
    area = auroc(labels, full.ravel()[np.concatenate([inside, outside])])
    return LesionHit(name, image_id, float(near.ravel()[peak]), area)


def pasted_records(table: pd.DataFrame, hits: Sequence[LesionHit], split: str, context: RecordContext) -> list[Record]:
    """Records of level ``pasted``: ``peak_found`` and ``pixel_auroc`` of every map, ``auroc`` of every image score.

    Subsets are the contrast classes and each kind of the medium one. Figures of maps are means over copies and
    canvases; ``auroc`` compares copies with untouched normals of the ``split``. Intervals draw whole groups, even one.
    """
    copies, normal = table[table["split"] == SPLIT].set_index("image_id"), table[table["split"] == split]
    klasses = copies["klass"].astype(str)
    subsets = {name: copies[klasses.str.startswith(name)] for name in CLASSES}
    subsets |= {name: copies[klasses == name] for name in sorted(set(klasses)) if name.startswith("medium")}
    by_name, records = dict[ScoreName, list[LesionHit]](), list[Record]()
    for hit in hits:
        by_name.setdefault(hit.name, []).append(hit)
    for subset, part in subsets.items():
        inside = frozenset(part.index)
        for name, found in by_name.items():
            shown = [hit for hit in found if hit.image_id in inside]
            if not shown:
                continue
            weights = seeded_weights(part.loc[[hit.image_id for hit in shown], "group"].to_numpy(), context.resamples)
            for metric in ("peak_found", "pixel_auroc"):
                measured = mean_estimate(np.array([getattr(hit, metric) for hit in shown]), weights)
                records.append(context.record(name, "pasted", metric, subset, measured))
        if part.empty or normal.empty:
            continue
        both = pd.concat([normal, part])
        weights = seeded_weights(both["group"].to_numpy(), context.resamples)
        altered = np.arange(len(both)) >= len(normal)
        for column in (name for name in table.columns if ":" in name):
            scores = both[column].to_numpy(float)
            if np.isfinite(scores).all():
                measured = estimate(
                    auroc(altered, scores), resampled(METRICS["auroc"], altered, scores, weights), len(both)
                )
                records.append(context.record(ScoreName.parse(column), "pasted", "auroc", subset, measured))
    return records
