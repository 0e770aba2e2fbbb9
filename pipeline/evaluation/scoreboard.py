"""What an evaluation gathers: image scores column by column, and the pixel curves of the scores that have maps."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from models.pixel_curve import PixelCurve
from models.scoring import Array, worst_mean, z_score
from pipeline.data.datasets import Dataset
from pipeline.detectors.scorers import CanvasScore, enlarge
from pipeline.evaluation.pasted_lesions import SPLIT, LesionHit, Mask, PastedConfig, PastedImages, lesion_hit, paste
from pipeline.evaluation.score_name import ScoreName
from pipeline.forms.form import SCORED
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, canvases, load_tiles, read_index, read_rows

SCORED_SPLITS = ("val", "holdout", "test")
"""Splits whose images are scored."""


@dataclass(frozen=True, kw_only=True)
class LaneInputs:
    """The data set and the stored versions that one evaluation reads."""

    dataset: Dataset
    images: Version
    tiles: Version
    proxies: Version
    trained: tuple[Version, ...]  # of the training stages; the last one holds the whole method
    members: Version | None = None  # other learned methods, one folder each

    @property
    def checkpoint(self) -> Version:
        """The trained method."""
        return self.trained[-1]

    @property
    def member_methods(self) -> dict[str, Version]:
        """Name of each other learned method → the version that holds it."""
        return {} if self.members is None else dict.fromkeys(self.members.meta["members"], self.members)

    @property
    def versions(self) -> dict[str, str]:
        """Asset → data version."""
        others = () if self.members is None else (self.members,)
        every = (self.images, self.tiles, self.proxies, *self.trained, *others)
        return {version.asset: version.data_version for version in every}


@dataclass(frozen=True)
class Truth:
    """Where the lesions of the test images are, on one canvas."""

    lesions: Mask  # (n, L, H, W), one mask per lesion type
    scored: Mask  # (n, H, W)
    rows: Mapping[str, int]  # image id → row


MapOf = Callable[[int], Array]
"""Row of the images → pixel values (H, W)."""


def absolute(residual: Array) -> MapOf:
    """Maps |I − Î| (Eq. 14) of signed residuals (n, H, W), made row by row to save memory."""
    return lambda row: np.abs(residual[row])


@dataclass
class Scoreboard:
    """Scores gathered so far: one column per score, and the pixel curves of those that have maps."""

    inputs: LaneInputs
    table: pd.DataFrame  # image_id, split, label, klass, group, then a column per score; one row per image or copy
    pasted: Mapping[str, PastedImages] = field(default_factory=dict)  # canvas → copies with pasted lesions
    curves: dict[str, PixelCurve] = field(default_factory=dict)  # score column → curve
    lesion_hits: list[LesionHit] = field(default_factory=list)  # how well maps show the pasted lesions
    _truth: dict[str, Truth] = field(default_factory=dict)

    @classmethod
    def of(cls, inputs: LaneInputs, canvas_names: Iterable[str], config: PastedConfig | None) -> "Scoreboard":
        """No score yet; rows are the images to be scored in manifest order, then copies if ``config`` asks for them."""
        pasted = {} if config is None else {name: paste(inputs.tiles, name, config) for name in canvas_names}
        index = read_index(inputs.tiles)
        images = index[index["split"].isin(SCORED_SPLITS)]
        rows = pd.concat([images, *(copies.table for copies in pasted.values())]).drop_duplicates("image_id")
        return cls(inputs, rows[["image_id", "split", "label", "klass", "group"]].reset_index(drop=True), pasted)

    def pasted_tiles(self, canvas: str) -> TileSet | None:
        """Tiles of the copies with pasted lesions."""
        return self.pasted[canvas].tiles if canvas in self.pasted else None

    def add(self, name: ScoreName, images: pd.DataFrame, values: Array) -> None:
        """Add the values (n,) of one canvas to a score; canvases of a score are summed."""
        aligned = pd.Series(values, index=images["image_id"]).reindex(self.table["image_id"]).to_numpy(float)
        self.table[name.column] = aligned + self.table.get(name.column, 0.0)

    def add_standardised(self, name: ScoreName, canvas: str, score: CanvasScore) -> None:
        """Add a canvas's image scores and its maps; each map is computed once, as fine ones take seconds."""
        table, raw = score.images.images, dict[int, np.float32]()

        def map_of(row: int) -> Array:
            values = score.map_of(row)
            raw[row] = worst_mean(values[None], score.images.scored[row][None], score.config)[0]
            return values

        self.add_maps(name, canvas, table, map_of, 1.0)
        for row in sorted(set(range(len(table))) - set(raw)):
            map_of(row)
        values = np.array([raw[row] for row in range(len(table))], np.float32)
        self.add(name, table, z_score(values, values[score.images.rows("val")]))

    def add_maps(self, name: ScoreName, canvas: str, images: pd.DataFrame, map_of: MapOf, scale: float) -> None:
        """Compare the maps of copies with their pasted lesion, and those of test images with their lesion masks.

        ``scale`` is the typical size of a map's values, see ``PixelCurve``.
        """
        if canvas in self.pasted:
            self._add_hits(name, self.pasted[canvas], images, map_of)
        lesions = self.inputs.dataset.lesions
        if not lesions:
            return
        curve, truth = self.curves.setdefault(name.column, PixelCurve(lesions, scale=scale)), self.truth(canvas)
        for row in np.flatnonzero((images["split"] == "test").to_numpy()):
            image = images.iloc[row]
            at = truth.rows[image["image_id"]]
            values = enlarge(map_of(int(row)), truth.scored[at].shape)
            curve.add(values, truth.lesions[at], truth.scored[at], group=str(image["group"]))

    def _add_hits(self, name: ScoreName, copies: PastedImages, images: pd.DataFrame, map_of: MapOf) -> None:
        order = {image_id: row for row, image_id in enumerate(copies.table["image_id"])}
        for row in np.flatnonzero((images["split"] == SPLIT).to_numpy()):
            image_id = str(images["image_id"].iloc[row])
            at = order[image_id]
            hit = lesion_hit(name, image_id, map_of(int(row)), copies.masks[at], copies.scored[at])
            self.lesion_hits += [] if hit is None else [hit]

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
