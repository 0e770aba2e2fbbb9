"""What an evaluation gathers: image scores column by column, and the pixel curves of the scores that have maps."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from models.pixel_curve import PixelCurve
from models.scoring import Array, Mask, z_score
from pipeline.data.datasets import Dataset
from pipeline.detectors.frozen.freeze import Trained
from pipeline.detectors.images import BLOCK, enlarge
from pipeline.evaluation.pasted_lesions import SPLIT, LesionHit, PastedConfig, PastedImages, lesion_hit, paste
from pipeline.evaluation.score_name import ScoreName
from pipeline.forms.form import SCORED
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, canvases, load_tiles, read_index, read_rows

SCORED_SPLITS = ("val", "holdout", "test")  # splits whose images are scored


@dataclass(frozen=True, kw_only=True)
class LaneInputs(Trained):
    """The data set and the stored versions that one evaluation reads."""

    dataset: Dataset
    images: Version
    proxies: Version
    earlier: tuple[Version, ...] = ()  # of the training stages before the last one, which holds the whole method
    detector: Version | None = None  # the lane's committee, frozen; None: the method alone, fitted here

    @property
    def versions(self) -> dict[str, str]:
        """Asset → data version."""
        every = (self.images, self.tiles, self.proxies, *self.earlier, self.stage, self.members, self.detector)
        return {version.asset: version.data_version for version in every if version is not None}


@dataclass(frozen=True)
class Truth:
    """Where the lesions of the test images are, on one canvas."""

    lesions: Mask  # (n, L, H, W), one mask per lesion type
    scored: Mask  # (n, H, W)
    rows: Mapping[str, int]  # image id → row


@dataclass
class Scoreboard:
    """Scores gathered so far: one column per score, and the pixel curves of those that have maps."""

    inputs: LaneInputs
    table: (
        pd.DataFrame
    )  # image_id, split, label, klass, group, maybe volume, a column per score; one row per image or copy
    pasted: Mapping[str, PastedImages] = field(default_factory=dict)  # canvas → copies with pasted lesions
    curves: dict[str, PixelCurve] = field(default_factory=dict)  # score column → curve
    lesion_hits: list[LesionHit] = field(default_factory=list)  # how well maps show the pasted lesions
    _truth: dict[str, Truth] = field(default_factory=dict)
    _columns: dict[ScoreName, dict[str, float]] = field(default_factory=dict)  # of one canvas, by image id

    @classmethod
    def of(cls, inputs: LaneInputs, canvas_names: Iterable[str], config: PastedConfig | None) -> "Scoreboard":
        """No score yet; rows are the images to be scored in manifest order, then copies if ``config`` asks for them."""
        pasted = {} if config is None else {name: paste(inputs.tiles, name, config) for name in canvas_names}
        index = read_index(inputs.tiles)
        images = index[index["split"].isin(SCORED_SPLITS)]
        rows = pd.concat([images, *(copies.table for copies in pasted.values())]).drop_duplicates("image_id")
        known = rows[["image_id", "split", "label", "klass", "group", *rows.columns.intersection(["volume"])]]
        return cls(inputs, known.fillna({"volume": ""}).reset_index(drop=True), pasted)  # copies are of no volume

    def copies(self, canvas: str) -> Iterable[TileSet]:
        """Tiles of the copies with pasted lesions, a few images at a time."""
        return self.pasted[canvas].tiles.blocks(BLOCK) if canvas in self.pasted else ()

    def collect(self, name: ScoreName, image_ids: Iterable[str], values: Iterable[float]) -> None:
        """Keep values of one canvas until ``finish``."""
        self._columns.setdefault(name, {}).update(zip(image_ids, map(float, values), strict=True))

    def finish(self, raw: Collection[ScoreName]) -> None:
        """Add a canvas to every score: in units of the sd of validation normals, but those in ``raw`` as they are."""
        normal = set(self.table["image_id"][self.table["split"] == "val"])
        for name, column in self._columns.items():
            values = np.array(list(column.values()), np.float32)
            if name not in raw:
                values = z_score(values, values[[image_id in normal for image_id in column]])
            aligned = pd.Series(values, index=list(column)).reindex(self.table["image_id"]).to_numpy(float)
            self.table[name.column] = aligned + self.table.get(name.column, 0.0)
        self._columns.clear()

    def add_maps(
        self, name: ScoreName, canvas: str, images: pd.DataFrame, maps: Sequence[Array] | Array, scale: float
    ) -> None:
        """Compare maps of copies with their pasted lesion, of test images with their masks; ``scale``: `PixelCurve`."""
        lesions = self.inputs.dataset.lesions
        for image_id, split, group, values in zip(
            images["image_id"].astype(str), images["split"], images["group"].astype(str), maps, strict=True
        ):
            if split == SPLIT:
                copies = self.pasted[canvas]
                at = list(copies.table["image_id"]).index(image_id)
                hit = lesion_hit(name, image_id, values, copies.masks[at], copies.scored[at])
                self.lesion_hits += [] if hit is None else [hit]
            elif split == "test" and lesions:
                curve, truth = self.curves.setdefault(name.column, PixelCurve(lesions, scale=scale)), self.truth(canvas)
                at = truth.rows[image_id]
                shown = enlarge(np.asarray(values), truth.scored[at].shape)
                curve.add(shown, truth.lesions[at], truth.scored[at], group=group)

    def truth(self, canvas: str) -> Truth:
        """Lesion masks of the test images; read once per canvas."""
        if canvas not in self._truth:
            held = load_tiles(self.inputs.tiles, None, splits=["test"], canvas=canvas)
            lesions = read_rows(self.inputs.tiles, "lesions", held.index["tile"].to_numpy())
            images, stitched = canvases(lesions.astype(bool), held.index, canvas)
            scored = canvases(held.validity, held.index, canvas)[1] == SCORED
            rows = {image_id: row for row, image_id in enumerate(images["image_id"])}
            self._truth[canvas] = Truth(stitched.astype(bool), scored, rows)
        return self._truth[canvas]

    def lesion_mask(self, canvas: str, image_id: str) -> Mask | None:
        """Pixels (H, W) of any lesion of a test image; None for other images and for data without masks."""
        truth = self.truth(canvas) if self.inputs.dataset.lesions else None
        return truth.lesions[truth.rows[image_id]].any(axis=0) if truth and image_id in truth.rows else None
