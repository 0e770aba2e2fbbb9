"""What an evaluation gathers: image scores column by column, and the pixel curves of the scores that have maps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.arithmetic import release_memory
from models.pixel_curve import ImageCounts, PixelCurve
from models.scoring import Array, Mask, z_score
from pipeline.data.datasets import Dataset
from pipeline.detectors.frozen.freeze import Trained
from pipeline.detectors.images import enlarge
from pipeline.evaluation.carried import ImageDigests, Result
from pipeline.evaluation.pasted_lesions import LesionHit, PastedConfig, PlannedCopies, lesion_hit
from pipeline.evaluation.score_name import ScoreName
from pipeline.forms.form import SCORED
from pipeline.store.versions import Version
from pipeline.tiles.loading import canvases, load_tiles, read_index, read_rows

SCORED_SPLITS = ("val", "holdout", "test")  # splits whose images are scored
RAW_SCORES = ("latent", "image", "worst")
"""Scores of single images that get the unit of validation normals when all are gathered."""


@dataclass(frozen=True, kw_only=True)
class LaneInputs(Trained):
    """The data set and the stored versions that one evaluation reads."""

    dataset: Dataset
    images: Version
    proxies: Version
    earlier: tuple[Version, ...] = ()  # of the training stages before the last one, which holds the whole method
    detector: Version | None = None  # the lane's committee, frozen; None: the method alone, fitted here

    @cached_property
    def digests(self) -> ImageDigests:
        """Of every image."""
        return ImageDigests(self.tiles, self.proxies)

    @property
    def fitted_on(self) -> list[Any]:
        """What all results depend on, whichever image they are of: trained versions, normals, kinds of lesions."""
        trained = [None if one is None else one.data_version for one in (self.stage, self.members, self.detector)]
        return [*trained, self.digests.of("train", "val"), list(self.dataset.lesions)]

    @property
    def versions(self) -> dict[str, str]:
        """Asset → data version."""
        every = (self.images, self.tiles, self.proxies, *self.earlier, self.stage, self.members, self.detector)
        return {version.asset: version.data_version for version in every if version is not None}


@dataclass(frozen=True)
class Truth:
    """Where the lesions of the test images are, on one canvas; held as bits along W, a multiple of 256."""

    lesion_bits: NDArray[np.uint8]  # (n, L, H, W / 8), one mask per lesion type
    scored_bits: NDArray[np.uint8]  # (n, H, W / 8)
    rows: Mapping[str, int]  # image id → row

    def lesions(self, image_id: str) -> Mask:
        """One mask (L, H, W) per lesion type."""
        return self._masks(self.lesion_bits[self.rows[image_id]])

    def scored(self, image_id: str) -> Mask:
        """Where scores count, (H, W)."""
        return self._masks(self.scored_bits[self.rows[image_id]])

    def _masks(self, bits: NDArray[np.uint8]) -> Mask:
        return np.unpackbits(bits, axis=-1).view(np.bool_)


@dataclass
class CanvasResult:
    """What scoring one image, or one copy, on one canvas gave; scores are named by their columns."""

    values: dict[str, float] = field(default_factory=dict)  # image scores, raw or in sd of normals
    hits: dict[str, tuple[float, float]] = field(default_factory=dict)  # of copies: peak found, pixel AUROC
    counts: dict[str, ImageCounts] = field(default_factory=dict)  # of test images with masks
    seconds: float = 0.0  # that the method's network took

    def add(self, other: "CanvasResult") -> None:
        """Take in the scores of another detector for the same image."""
        self.values |= other.values
        self.hits |= other.hits
        self.counts |= other.counts
        self.seconds += other.seconds

    def packed(self) -> Result:
        """The result as it is carried over."""
        arrays = {f"{column}|{part}": a for column, one in self.counts.items() for part, a in one.packed().items()}
        return Result([self.values, self.hits, list(self.counts), self.seconds], arrays)

    @classmethod
    def unpacked(cls, result: Result) -> "CanvasResult":
        """Inverse of ``packed``."""
        values, hits, counted, seconds = result.values
        counts = dict[str, ImageCounts]()
        for column in counted:
            own = {name.rpartition("|")[2]: a for name, a in result.arrays.items() if name.startswith(f"{column}|")}
            counts[column] = ImageCounts.unpacked(own)
        return cls(values, {column: (hit[0], hit[1]) for column, hit in hits.items()}, counts, seconds)


@dataclass
class Scoreboard:
    """Scores gathered so far: one column per score, and the pixel curves of those that have maps."""

    inputs: LaneInputs
    table: (
        pd.DataFrame
    )  # image_id, split, label, klass, group, maybe volume, then a column per score; rows: images, copies
    copies: Mapping[str, PlannedCopies] = field(default_factory=dict)  # canvas → copies with pasted lesions
    curves: dict[str, PixelCurve] = field(default_factory=dict)  # score column → curve
    lesion_hits: list[LesionHit] = field(default_factory=list)  # how well maps show the pasted lesions
    seconds: float = 0.0  # that the method's network took
    _truth: dict[str, Truth] = field(default_factory=dict)

    @classmethod
    def of(cls, inputs: LaneInputs, canvas_names: Iterable[str], config: PastedConfig | None) -> "Scoreboard":
        """No score yet; rows are the images to be scored in manifest order, then copies if ``config`` asks for them."""
        copies = {} if config is None else {name: PlannedCopies(inputs.tiles, name, config) for name in canvas_names}
        index = read_index(inputs.tiles)
        images = index[index["split"].isin(SCORED_SPLITS)]
        rows = pd.concat([images, *(planned.table for planned in copies.values())]).drop_duplicates("image_id")
        known = rows[["image_id", "split", "label", "klass", "group", *rows.columns.intersection(["volume"])]]
        return cls(inputs, known.fillna({"volume": ""}).reset_index(drop=True), copies)  # copies are of no volume

    def gather(self, results: Mapping[str, CanvasResult]) -> None:
        """Add the results of all images on one canvas: raw scores in units of the sd of validation normals."""
        rows = self.table[self.table["image_id"].isin(list(results))]
        rows = rows.sort_values("split", key=lambda split: split != "val", kind="stable")
        columns = dict[str, dict[str, float]]()
        for image_id, group in zip(rows["image_id"], rows["group"].astype(str), strict=True):
            result = results[image_id]
            self.seconds += result.seconds
            for column, value in result.values.items():
                columns.setdefault(column, {})[image_id] = value
            for column, counts in result.counts.items():
                curve = self.curves.setdefault(column, PixelCurve(self.inputs.dataset.lesions, scale=1.0))
                curve.append(counts, group=group)
            for column, hit in result.hits.items():
                self.lesion_hits.append(LesionHit(ScoreName.parse(column), image_id, *hit))
        normal = set(self.table["image_id"][self.table["split"] == "val"])
        for column, found in columns.items():
            values = np.array(list(found.values()), np.float32)
            if ScoreName.parse(column).score in RAW_SCORES:
                values = z_score(values, values[[image_id in normal for image_id in found]])
            aligned = pd.Series(values, index=list(found)).reindex(self.table["image_id"]).to_numpy(float)
            self.table[column] = aligned + self.table.get(column, 0.0)

    def measure_map(
        self, result: CanvasResult, name: ScoreName, canvas: str, image_id: str, values: Array, scale: float
    ) -> None:
        """Compare the map of a copy with its pasted lesion, of a test image with its masks; ``scale``: `PixelCurve`."""
        copies, lesions = self.copies.get(canvas), self.inputs.dataset.lesions
        if copies is not None and image_id in copies.names:
            painted = copies.painted
            at = painted.rows[image_id]
            hit = lesion_hit(name, image_id, values, painted.masks[at], painted.scored[at])
            if hit is not None:
                result.hits[name.column] = (hit.peak_found, hit.pixel_auroc)
        elif lesions and image_id in (truth := self.truth(canvas)).rows:
            scored = truth.scored(image_id)
            shown = enlarge(np.asarray(values), scored.shape)
            counted = PixelCurve(lesions, scale=scale).count(shown, truth.lesions(image_id), scored)
            result.counts[name.column] = counted

    def truth(self, canvas: str) -> Truth:
        """Lesion masks of the test images; read once per canvas."""
        if canvas not in self._truth:
            held = load_tiles(self.inputs.tiles, None, splits=["test"], canvas=canvas)
            scored = np.packbits(held.validity == SCORED, axis=-1)
            lesions = np.packbits(read_rows(self.inputs.tiles, "lesions", held.index["tile"].to_numpy()), axis=-1)
            images, lesion_bits = canvases(lesions, held.index, canvas)
            _, scored_bits = canvases(scored, held.index, canvas)
            rows = {image_id: row for row, image_id in enumerate(images["image_id"])}
            self._truth[canvas] = Truth(lesion_bits.astype(np.uint8), scored_bits.astype(np.uint8), rows)
            del held
            release_memory()
        return self._truth[canvas]

    def lesion_mask(self, canvas: str, image_id: str) -> Mask | None:
        """Pixels (H, W) of any lesion of a test image; None for other images and for data without masks."""
        truth = self.truth(canvas) if self.inputs.dataset.lesions else None
        return np.asarray(truth.lesions(image_id).any(axis=0)) if truth and image_id in truth.rows else None
