"""The frozen detector: an image goes in, a score, its rarity among normals and a heat map come out.

It runs the same code as training and evaluation: the form's ``cut``, ``at_size``, ``predict_tiles``, and the
standardisation of ``models.scoring``, with the statistics of all validation normals or of those most like the image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.method import Method
from models.scoring import Array, NormalStatistics, ScoreConfig, parts, standardise_one, worst_mean
from pipeline.detectors.frozen.calibration import Calibration, in_words
from pipeline.detectors.frozen.domain import LIMIT, Domain, coloured, texture
from pipeline.detectors.frozen.heat import Region, overlay, paint, regions
from pipeline.detectors.inference import predict_tiles
from pipeline.detectors.normal_residuals import NormalResiduals
from pipeline.detectors.scorers import CanvasImages, stitched
from pipeline.detectors.similar import SimilarNormals
from pipeline.errors import ConfigError
from pipeline.forms import FORMS, GRAY_FORMS
from pipeline.forms.form import NO_DATA, TILE, Form, SlotTile, slots
from pipeline.tiles.loading import TileSet, at_size

LONGEST = 1024
"""Longest side, px, of overlays and of the heat map in which regions are looked for."""


@dataclass(frozen=True, kw_only=True)
class CanvasDetector:
    """What one canvas needs."""

    size: tuple[int, int]  # rows and columns of a tile as the network was trained
    score: ScoreConfig
    method: Method
    normal: NormalStatistics  # of all validation normals
    similar: SimilarNormals | None  # one by one, where the score is by the most similar
    beside: NormalResiduals | None  # training normals, where the score compares residuals with theirs
    mean: float  # of validation normals' raw image scores, and their sd: the unit of the score
    sd: float
    domain: Domain

    def normal_for(self, images: CanvasImages) -> Iterator[NormalStatistics]:
        """What each image is standardised by."""
        for gray, scored in zip(images.gray, images.scored, strict=True):
            yield self.similar.statistics(gray, scored) if self.similar else self.normal


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the detector says of one image."""

    score: float  # sum over canvases of sd of normal images; higher is more anomalous
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
        """Whether the image looks like what the detector was made for; else its score means nothing."""
        return self.distance <= LIMIT

    def heat_map(self, longest: int | None = None) -> Array:
        """Heat (h, w), sd of normals, NaN where no tile looks; at most ``longest`` px, None for the image's size."""
        return paint(self.tiles, self.canvases, self.maps, longest)

    @cached_property
    def _heat(self) -> Array:
        return self.heat_map(LONGEST)

    def regions(self, rate: float = 0.05) -> tuple[Region, ...]:
        """Places hotter than the hottest place of all but the share ``rate`` of normal images, hottest first."""
        height, width = self.pixels.shape[:2]
        return regions(self._heat, (height, width), self.peaks.threshold(rate), self.peaks)

    def decision(self, rate: float = 0.05) -> str:
        """``abnormal`` or ``normal`` at that false-alarm rate, or ``out of domain``."""
        if not self.in_domain:
            return "out of domain"
        return "abnormal" if self.false_alarm_rate <= rate else "normal"

    def overlay(self, rate: float = 0.05) -> bytes:
        """PNG of the image with its heat on the fixed scale and the outlines of its regions."""
        chance = in_words(self.false_alarm_rate) if self.in_domain else "out of domain"
        text = f"score {self.score:.2f}: {chance}"
        return overlay(self.pixels, self._heat, self.peaks.threshold(rate), text)


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
    facts: Mapping[str, Any]  # method, preset, seed, data versions: what the numbers come from
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
        """The modality has no colours: a colour picture is none of it."""
        return self.form_name in GRAY_FORMS

    @property
    def form(self) -> Form:
        """The canonical form whose tiles it sees."""
        return FORMS[self.form_name]

    def cut(self, pixels: NDArray[np.uint8]) -> tuple[SlotTile, ...]:
        """Tiles of an image, uint8 (H, W) or (H, W, 3); ``UnusableImage`` where the form refuses it."""
        return self.form.cut(pixels, {})

    def score(self, pixels: NDArray[np.uint8]) -> Finding:
        """One image; ``UnusableImage`` where the form refuses it."""
        return self.score_tiles([(pixels, self.cut(pixels))])[0]

    def score_tiles(self, images: Sequence[tuple[NDArray[np.uint8], tuple[SlotTile, ...]]]) -> list[Finding]:
        """Several images with their tiles, in one batch."""
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
            Finding(
                score=float(total[row]),
                false_alarm_rate=self.images.rate(float(total[row])),
                false_alarm_rate_high=self.images.highest_rate(float(total[row])),
                distance=float("inf") if self.gray and coloured(pixels) else float(distance[row]),
                pixels=pixels,
                tiles=tiles,
                maps=maps[row],
                peaks=self.peaks,
                canvases=self.form.canvases,
            )
            for row, (pixels, tiles) in enumerate(images)
        ]

    def _canvas(self, name: str, canvas: CanvasDetector, held: TileSet) -> tuple[Array, list[Array], Array]:
        """Raw image scores (n,), maps and distances (n,) of one canvas."""
        chosen = np.flatnonzero((held.index["canvas"] == name).to_numpy())
        index = held.index.iloc[chosen].reset_index(drop=True)
        full = TileSet(held.pixels[chosen], None, held.validity[chosen], index)
        small = at_size(full, canvas.size, self.form.neutral)
        seen = predict_tiles(
            canvas.method,
            small,
            canvas=name,
            size=canvas.size,
            full=full if canvas.score.fine else None,
            flip_average=self.flip_average,
            device=self.device,
        )
        images, scored = seen.images, seen.images.scored
        steady = canvas.beside.unlike(images, seen.steady, canvas.score) if canvas.beside else seen.steady
        smoothed = parts(steady, scored, canvas.score)
        maps = [
            standardise_one(smoothed[row], usual, scored[row], images.offset(row), canvas.score)
            for row, usual in enumerate(canvas.normal_for(images))
        ]
        whole = stitched(full, name, (TILE, TILE))
        return worst_mean(np.stack(maps), scored, canvas.score), maps, textures_from(whole, canvas.domain)


def textures_from(images: CanvasImages, domain: Domain) -> Array:
    """Distances (n,) of images at full size from the domain."""
    found = [domain.distance(texture(images.gray[row], images.validity[row])) for row in range(len(images.images))]
    return np.array(found, np.float32)


def _tile_set(images: Sequence[tuple[SlotTile, ...]], form: Form) -> TileSet:
    """Tiles in memory as the store keeps them: NO_DATA is neutral, and an index row a tile."""
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
