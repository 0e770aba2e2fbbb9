"""The frozen detector: takes an image and gives a score, its rarity among normal images, and a heat map.

It runs the code of training and evaluation: the form's ``cut``, ``at_size``, ``predict_tiles``, and the standardisation
of ``models.scoring`` with the statistics of all validation normals or of those most like the image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.method import Method
from models.scoring import Array, NormalStatistics, ScoreConfig, standardise_one, worst_mean
from pipeline.detectors.frozen.calibration import Calibration, in_words
from pipeline.detectors.frozen.domain import LIMIT, Domain, coloured, textures
from pipeline.detectors.frozen.heat import Region, overlay, paint, regions
from pipeline.detectors.inference import predict_tiles
from pipeline.detectors.normal_residuals import NormalResiduals
from pipeline.detectors.scorers import residual_parts, stitched
from pipeline.detectors.similar import SimilarNormals
from pipeline.errors import ConfigError
from pipeline.forms import FORMS, GRAY_FORMS
from pipeline.forms.form import NO_DATA, Form, SlotTile, slots
from pipeline.tiles.loading import TileSet, at_size

LONGEST = 1024
"""Longest side, px, of overlays and of the heat map that is searched for regions."""


@dataclass(frozen=True, kw_only=True)
class CanvasDetector:
    """Network and statistics of one canvas."""

    size: tuple[int, int]  # rows and columns of a tile, px, at which the network was trained
    score: ScoreConfig
    method: Method
    normal: NormalStatistics  # of all validation normals
    similar: SimilarNormals | None  # the same normals one by one, if the score uses the most similar
    beside: NormalResiduals | None  # of training normals, if the score compares residuals with theirs
    mean: float  # mean and sd of the raw image scores of validation normals: origin and unit of the score
    sd: float
    domain: Domain


@dataclass(frozen=True, kw_only=True)
class ScoredImage:
    """The detector's result for one image.

    ``rate`` is a false-alarm rate: the share of normal images that may be called abnormal. None takes the default,
    .05, or the lowest rate that the number of normals can tell; ``ConfigError`` if a lower one is asked for.
    """

    score: float  # sum over canvases of sd of normal images; higher = more anomalous
    false_alarm_rate: float  # share of normal images that score at least as high
    false_alarm_rate_high: float  # upper end of its 95 % interval
    distance: float  # from the nearest normal's texture, in units of the farthest validation normal's
    pixels: NDArray[np.uint8]  # the image
    tiles: tuple[SlotTile, ...]
    maps: Mapping[str, Array]  # canvas → (H, W) standardised scores, 0 where nothing is scored
    peaks: Calibration
    canvases: Mapping[str, tuple[int, int]] = field(repr=False)

    @property
    def in_domain(self) -> bool:
        """Whether the image looks like those the detector was made for; if not, its score means nothing."""
        return self.distance <= LIMIT

    def heat_map(self, longest: int | None = None) -> Array:
        """Heat (h, w), sd of normals, NaN outside the tiles; at most ``longest`` px, None for the image's size."""
        return paint(self.tiles, self.canvases, self.maps, longest)

    @cached_property
    def _heat(self) -> Array:
        return self.heat_map(LONGEST)

    def _threshold(self, rate: float | None) -> float:
        return self.peaks.threshold(self.peaks.usable_rate(rate))

    def decision(self, rate: float | None = None) -> str:
        """``abnormal`` or ``normal`` at that false-alarm rate, or ``out of domain``."""
        rate = self.peaks.usable_rate(rate)
        if not self.in_domain:
            return "out of domain"
        return "abnormal" if self.false_alarm_rate <= rate else "normal"

    def regions(self, rate: float | None = None) -> tuple[Region, ...]:
        """Places hotter than the hottest place of all but the share ``rate`` of normal images, hottest first."""
        height, width = self.pixels.shape[:2]
        return regions(self._heat, (height, width), self._threshold(rate), self.peaks)

    def overlay(self, rate: float | None = None) -> bytes:
        """PNG of the image with its heat on the fixed scale and the outlines of its regions."""
        chance = in_words(self.false_alarm_rate) if self.in_domain else "out of domain"
        return overlay(self.pixels, self._heat, self._threshold(rate), f"score {self.score:.2f}: {chance}")


@dataclass(frozen=True, kw_only=True)
class Detector:
    """A trained method frozen with its calibration; made by ``freeze_detector``, read by ``read_detector``."""

    dataset: str
    title: str
    form_name: str
    form_version: int
    flip_average: bool
    canvases: Mapping[str, CanvasDetector]
    images: Calibration  # image scores of normal validation images
    peaks: Calibration  # their hottest places
    facts: Mapping[str, Any]  # provenance: method, preset, seed, data versions
    data_version: str
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.form_name not in FORMS or FORMS[self.form_name].version != self.form_version:
            here = FORMS[self.form_name].version if self.form_name in FORMS else "no such form"
            raise ConfigError(
                f"detector of {self.dataset}: expected form {self.form_name} version {self.form_version}, "
                f"this code has {here}; materialize {self.dataset}/detector again"
            )

    @property
    def gray(self) -> bool:
        """Whether the modality is grayscale; colour images are then out of domain."""
        return self.form_name in GRAY_FORMS

    @property
    def form(self) -> Form:
        """The canonical form that cuts images to tiles."""
        return FORMS[self.form_name]

    def cut(self, pixels: NDArray[np.uint8]) -> tuple[SlotTile, ...]:
        """Tiles of an image, uint8 (H, W) or (H, W, 3); ``UnusableImage`` if the form refuses it."""
        return self.form.cut(pixels, {})

    def score(self, pixels: NDArray[np.uint8]) -> ScoredImage:
        """Score one image, uint8 (H, W) or (H, W, 3); ``UnusableImage`` if the form refuses it."""
        return self.score_tiles([(pixels, self.cut(pixels))])[0]

    def score_tiles(self, images: Sequence[tuple[NDArray[np.uint8], tuple[SlotTile, ...]]]) -> list[ScoredImage]:
        """Score several images with their tiles in one batch."""
        held = _tile_set([tiles for _, tiles in images], self.form)
        total, distance = np.zeros(len(images)), np.zeros(len(images))
        maps: list[dict[str, Array]] = [{} for _ in images]
        for name, canvas in self.canvases.items():
            raw, found, away = self._canvas(name, canvas, held)
            total += (raw - canvas.mean) / max(canvas.sd, 1e-12)
            distance += away / len(self.canvases)
            for row, values in enumerate(found):
                maps[row][name] = values
        return [
            ScoredImage(
                score=score,
                false_alarm_rate=self.images.rate(score),
                false_alarm_rate_high=self.images.highest_rate(score),
                distance=float("inf") if self.gray and coloured(pixels) else float(distance[row]),
                pixels=pixels,
                tiles=tiles,
                maps=maps[row],
                peaks=self.peaks,
                canvases=self.form.canvases,
            )
            for row, (score, (pixels, tiles)) in enumerate(zip(total.tolist(), images, strict=True))
        ]

    def _canvas(self, name: str, canvas: CanvasDetector, held: TileSet) -> tuple[Array, list[Array], Array]:
        """Raw image scores (n,), maps and distances (n,) of one canvas."""
        chosen = np.flatnonzero((held.index["canvas"] == name).to_numpy())
        index = held.index.iloc[chosen].reset_index(drop=True)
        full = TileSet(held.pixels[chosen], None, held.validity[chosen], index)
        seen = predict_tiles(
            canvas.method,
            at_size(full, canvas.size, self.form.neutral),
            canvas=name,
            full=full if canvas.score.fine else None,
            flip_average=self.flip_average,
            device=self.device,
        )
        images, steady, score = seen.images, seen.steady, canvas.score
        if canvas.beside:
            steady = canvas.beside.difference(images, steady, score)
        parts_of, maps = residual_parts(steady, images, score), list[Array]()
        for row, (gray, scored) in enumerate(zip(images.gray, images.scored, strict=True)):
            normal = canvas.similar.statistics(gray, scored) if canvas.similar else canvas.normal
            maps.append(standardise_one(parts_of(row), normal, scored, images.offset(row), score))
        away = [canvas.domain.distance(values) for values in textures(stitched(full, name))]
        return worst_mean(np.stack(maps), images.scored, score), maps, np.array(away, np.float32)


def _tile_set(images: Sequence[tuple[SlotTile, ...]], form: Form) -> TileSet:
    """Tiles in memory as the store keeps them: NO_DATA is neutral, one index row a tile."""
    rows, pixels, validity = [], [], []
    for number, tiles in enumerate(images):
        for tile, slot in zip(tiles, slots(form.canvases), strict=True):
            missing = tile.validity == NO_DATA
            pixels.append(np.where(missing[None], np.uint8(form.neutral), tile.pixels))
            validity.append(tile.validity)
            place = {"canvas": slot.canvas, "canvas_row": slot.row, "canvas_col": slot.col}
            place |= {"offset_row": tile.offset[0], "offset_col": tile.offset[1]}
            name = str(number)
            rows.append({"image_id": name, "split": "new", "label": 0, "klass": "", "group": name, **place})
    return TileSet(np.stack(pixels), None, np.stack(validity), pd.DataFrame(rows))
