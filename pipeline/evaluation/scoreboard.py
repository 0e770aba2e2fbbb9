"""What an evaluation gathers: image scores column by column, and the pixel curves of the scores that give maps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.pixel_curve import PixelCurve
from models.scoring import Array, worst_mean, z_score
from pipeline.data.datasets import Dataset
from pipeline.detectors.scorers import CanvasScore, enlarge
from pipeline.evaluation.pasted_lesions import SPLIT, Found, PastedImages, look
from pipeline.forms.form import SCORED
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, canvases, load_tiles, read_rows

ASKED = ("val", "holdout", "test")
"""Splits whose images are scored."""


@dataclass(frozen=True, kw_only=True)
class LaneInputs:
    """The versions one evaluation stands on."""

    dataset: Dataset
    images: Version
    tiles: Version
    proxies: Version
    trained: tuple[Version, ...]  # what training left; the last one holds the whole method
    members: Version | None = None  # other learned methods, a folder each

    @property
    def checkpoint(self) -> Version:
        """The trained method."""
        return self.trained[-1]

    @property
    def versions(self) -> dict[str, str]:
        """Asset → data version."""
        others = () if self.members is None else (self.members,)
        every = (self.images, self.tiles, self.proxies, *self.trained, *others)
        return {version.asset: version.data_version for version in every}


Truth = tuple[NDArray[np.bool_], NDArray[np.bool_], dict[str, int]]
"""Lesion masks (n, L, H, W), scored pixels (n, H, W) and the row of each image id."""


@dataclass
class Scoreboard:
    """Scores gathered so far: a column a score, and the pixel curves of those that give maps."""

    inputs: LaneInputs
    table: pd.DataFrame
    pasted: Mapping[str, PastedImages] = field(default_factory=dict)  # canvas → copies with pasted lesions
    curves: dict[str, PixelCurve] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)  # what maps say of the pasted lesions
    kept: dict[str, Truth] = field(default_factory=dict)  # canvas → masks of the test images

    def tiles_pasted(self, canvas: str) -> TileSet | None:
        """Tiles of the copies with pasted lesions."""
        return self.pasted[canvas].tiles if canvas in self.pasted else None

    def add(self, column: str, images: pd.DataFrame, values: Array) -> None:
        """Add the values of one canvas to a score; canvases of a score are summed."""
        aligned = pd.Series(values, index=images["image_id"]).reindex(self.table["image_id"]).to_numpy(float)
        self.table[column] = aligned + self.table.get(column, 0.0)

    def standardised(self, column: str, canvas: str, score: CanvasScore) -> None:
        """Add a canvas's image scores and the pixels of its maps; each map is made once, as fine ones take seconds."""
        table, kept = score.images.images, dict[int, np.float32]()

        def map_of(row: int) -> Array:
            values = score.map_of(row)
            kept[row] = worst_mean(values[None], score.images.scored[row][None], score.config)[0]
            return values

        self.pixels(column, canvas, table, map_of, 1.0)
        for row in sorted(set(range(len(table))) - set(kept)):
            map_of(row)
        raw = np.array([kept[row] for row in range(len(table))], np.float32)
        self.add(column, table, z_score(raw, raw[score.images.rows("val")]))

    def pixels(
        self, column: str, canvas: str, images: pd.DataFrame, map_of: Callable[[int], Array], scale: float
    ) -> None:
        """Feed the maps of the test images to the score's pixel curve, at the full size of the canvas.

        Those of copies with pasted lesions are compared with where the lesion is.
        """
        self._look(column, canvas, images, map_of)
        lesions = self.inputs.dataset.lesions
        if not lesions:
            return
        curve = self.curves.setdefault(column, PixelCurve(lesions, scale=scale))
        truth, scored, order = self.truth(canvas)
        for row in np.flatnonzero((images["split"] == "test").to_numpy()):
            image = images.iloc[row]
            at = order[image["image_id"]]
            curve.add(enlarge(map_of(int(row)), scored[at].shape), truth[at], scored[at], group=str(image["group"]))

    def _look(self, column: str, canvas: str, images: pd.DataFrame, map_of: Callable[[int], Array]) -> None:
        if canvas not in self.pasted:
            return
        copies = self.pasted[canvas]
        order = {image: row for row, image in enumerate(copies.table["image_id"])}
        for row in np.flatnonzero((images["split"] == SPLIT).to_numpy()):
            image = images.iloc[row]
            at = order[image["image_id"]]
            one = look(column, canvas, image, map_of(int(row)), copies.masks[at], copies.scored[at])
            self.found += [] if one is None else [one]

    def truth(self, canvas: str) -> Truth:
        """Lesion masks (n, L, H, W) and scored pixels (n, H, W) of the test images, with their order."""
        if canvas not in self.kept:
            held = load_tiles(self.inputs.tiles, None, splits=["test"], canvas=canvas)
            lesions = read_rows(self.inputs.tiles, "lesions", held.index["tile"].to_numpy())
            images, stitched = canvases(lesions.astype(bool), held.index, canvas)
            scored: NDArray[np.bool_] = canvases(held.validity, held.index, canvas)[1] == SCORED
            order = {image: row for row, image in enumerate(images["image_id"])}
            self.kept[canvas] = stitched.astype(bool), scored, order
        return self.kept[canvas]
