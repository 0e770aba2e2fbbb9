"""The frozen detector: takes an image and gives a score, its rarity among normal images, and a heat map.

It is the very object that the evaluation runs on test images: a committee of canvas scorers, or one member of it.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from models.scoring import Array
from pipeline.detectors.frozen.calibration import LIMIT, Calibration, Domain, coloured, in_words, textures
from pipeline.detectors.frozen.heat import Region, overlay, paint, regions
from pipeline.detectors.frozen.inputs import Input, as_pixels
from pipeline.detectors.images import stitched
from pipeline.detectors.standardise import COMMITTEE, Member, committee_score, fused_map
from pipeline.errors import ConfigError
from pipeline.forms import FORMS, GRAY_FORMS
from pipeline.forms.form import NO_DATA, Form, SlotTile, slots
from pipeline.tiles.loading import TileSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 1024  # longest side, px, of overlays and of the heat map that is searched for regions


@dataclass(frozen=True, kw_only=True, repr=False)
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
    canvases: Mapping[str, tuple[int, int]]

    def __repr__(self) -> str:
        return f"ScoredImage(score {self.score:.2f}, {self._rarity})"

    def _repr_png_(self) -> bytes:
        """The picture in a notebook."""
        return self.overlay()

    @property
    def _rarity(self) -> str:
        return in_words(self.false_alarm_rate) if self.in_domain else "out of domain"

    @property
    def in_domain(self) -> bool:
        """Whether the image looks like those the detector was made for; if not, its score means nothing."""
        return self.distance <= LIMIT

    def heat_map(self, longest: int | None = None) -> Array:
        """Heat (h, w), sd of normals, NaN outside the tiles; at most ``longest`` px, None for the image's size."""
        return paint(self.tiles, self.canvases, self.maps, longest)

    @property
    def looked_at(self) -> float:
        """Share of the image that the form's tiles cover; the heat map is NaN elsewhere."""
        return float(np.isfinite(self._heat).mean())

    @cached_property
    def _heat(self) -> Array:
        return self.heat_map(LONGEST)

    def decision(self, rate: float | None = None) -> str:
        """``abnormal`` or ``normal`` at that false-alarm rate, or ``out of domain``."""
        rate = self.peaks.usable_rate(rate)
        if not self.in_domain:
            return "out of domain"
        return "abnormal" if self.false_alarm_rate <= rate else "normal"

    def regions(self, rate: float | None = None) -> tuple[Region, ...]:
        """Places hotter than the hottest place of all but the share ``rate`` of normal images, hottest first."""
        height, width = self.pixels.shape[:2]
        return regions(self._heat, (height, width), self.peaks.threshold(rate), self.peaks)

    def overlay(self, rate: float | None = None) -> bytes:
        """PNG of the image with its heat on the fixed scale and the outlines of its regions."""
        return overlay(self.pixels, self._heat, self.peaks.threshold(rate), f"score {self.score:.2f}: {self._rarity}")

    def plot(self, rate: float | None = None) -> "Figure":
        """The image beside its overlay, as a Matplotlib figure."""
        from matplotlib.figure import Figure  # takes a quarter of a second to import

        figure = Figure(figsize=(10, 4.5), layout="constrained")
        shown = np.asarray(Image.open(io.BytesIO(self.overlay(rate))))
        for axes, pixels in zip(figure.subplots(1, 2), (self.pixels, shown), strict=True):
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
        figure.suptitle(f"score {self.score:.2f}: {self._rarity}")
        return figure


@dataclass(frozen=True, kw_only=True, repr=False)
class Detector:
    """A lane's committee with all its members and their calibration; made by ``freeze_detector``."""

    dataset: str
    title: str
    form_name: str
    form_version: int
    name: str  # which scores: the committee, or the member that `member` chose
    members: Mapping[str, Member]
    weights: Mapping[str, float]  # member → weight in the committee; empty without a committee
    calibrations: Mapping[str, tuple[Calibration, Calibration]]  # name → of image scores and of hottest places
    volume_calibrations: Mapping[str, Calibration] = field(default_factory=dict)  # name → of volumes, if it knows any
    domain: Mapping[str, Domain]  # by canvas
    facts: Mapping[str, Any]  # provenance: method, preset, seed, data versions
    copies: tuple[str, ...]  # members whose files hold copies of training images
    data_version: str

    def __post_init__(self) -> None:
        if self.form_name not in FORMS or FORMS[self.form_name].version != self.form_version:
            here = FORMS[self.form_name].version if self.form_name in FORMS else "no such form"
            raise ConfigError(
                f"detector of {self.dataset}: expected form {self.form_name} version {self.form_version}, "
                f"this code has {here}; run: proxyano refresh --select '*{self.dataset}/detector'"
            )

    def __repr__(self) -> str:
        made = f"preset {self.facts.get('preset')}, version {self.data_version[:12]}"
        return f"Detector({self.dataset!r}, scores by {self.name!r}, one of {len(self.names)} in `names`; {made})"

    @property
    def form(self) -> Form:
        """The canonical form that cuts images to tiles."""
        return FORMS[self.form_name]

    def cut(self, pixels: NDArray[np.uint8]) -> tuple[SlotTile, ...]:
        """Tiles of an image, uint8 (H, W) or (H, W, 3); ``UnusableImage`` if the form refuses it."""
        return self.form.cut(pixels, {})

    def score(self, image: Input) -> ScoredImage:
        """Score one image: a path, a Pillow image, or an array (H, W) or (H, W, 3) RGB of any usual type.

        Raises ``UnusableImage`` if it cannot be read or the form refuses it, ``ConfigError`` if it is no image.
        """
        pixels = as_pixels(image)
        return self.score_tiles([(pixels, self.cut(pixels))])[0]

    @property
    def names(self) -> tuple[str, ...]:
        """What can score: the committee first, if there is one, then every member."""
        return tuple(self.calibrations)

    @property
    def images(self) -> Calibration:
        """Image scores of normal validation images."""
        return self.calibrations[self.name][0]

    @property
    def volumes(self) -> Calibration | None:
        """Scores of normal validation volumes; None for a detector that was made from images alone."""
        return self.volume_calibrations.get(self.name)

    @property
    def peaks(self) -> Calibration:
        """Hottest places of normal validation images."""
        return self.calibrations[self.name][1]

    def member(self, name: str) -> "Detector":
        """The same detector, scoring by one of ``names``; ``ConfigError`` for another name."""
        if name not in self.names:
            raise ConfigError(f"detector of {self.dataset}: expected one of {', '.join(self.names)}, got {name!r}")
        return replace(self, name=name)

    def score_tiles(self, images: Sequence[tuple[NDArray[np.uint8], tuple[SlotTile, ...]]]) -> list[ScoredImage]:
        """Score several images with their tiles; no score depends on the other images."""
        held, distance = _tile_set([tiles for _, tiles in images], self.form), np.zeros(len(images))
        foreign = [self.form_name in GRAY_FORMS and coloured(pixels) for pixels, _ in images]
        used = dict(self.weights) if self.name == COMMITTEE else {self.name: 1.0}
        scores = {name: np.zeros(len(images)) for name in used}
        maps: list[dict[str, Array]] = [{} for _ in images]
        for canvas, domain in self.domain.items():
            tiles = held.rows((held.index["canvas"] == canvas).to_numpy())
            distance += [domain.distance(values) / len(self.domain) for values in textures(stitched(tiles, canvas))]
            found: dict[str, list[Array]] = {}
            for name in (name for name in used if canvas in self.members[name]):
                scored = self.members[name][canvas].score(tiles)
                scores[name] += scored.z
                found[name] = scored.maps
            for row, shown in enumerate(maps):
                shown[canvas] = fused_map([(used[name], each[row]) for name, each in found.items()])
        total = committee_score(used, self.members, scores) if self.name == COMMITTEE else scores[self.name]
        return [
            ScoredImage(
                score=score,
                false_alarm_rate=self.images.rate(score),
                false_alarm_rate_high=self.images.highest_rate(score),
                distance=float("inf") if foreign[row] else float(distance[row]),
                pixels=pixels,
                tiles=tiles,
                maps=maps[row],
                peaks=self.peaks,
                canvases=self.form.canvases,
            )
            for row, (score, (pixels, tiles)) in enumerate(zip(total.tolist(), images, strict=True))
        ]


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
