"""Controls by name, how one is fitted, and those that are fitted to nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from models.scoring import Array, ScoreConfig
from pipeline.detectors.contract import ControlDetector
from pipeline.detectors.controls.nearest import Nearest, PatchNeighbour, SimilarMean
from pipeline.detectors.controls.pca import Pca
from pipeline.detectors.controls.pixel_classifier import PixelClassifier
from pipeline.detectors.controls.pretrained import FeatureNeighbour
from pipeline.detectors.images import CanvasImages, enlarge, lead, stitched
from pipeline.errors import ConfigError
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, at_size, load_tiles, read_neutral


class Median(ControlDetector):
    """Difference from the median in a window of ``window`` px (odd), in steps of 1/255: no training at all."""

    rebuilds = True

    def difference(self, images: CanvasImages) -> Array:
        """``ConfigError`` for an even window."""
        window = self.options.get("window", 61)
        if window % 2 == 0:
            raise ConfigError(f"median window: expected an odd number of px, got {window}")
        codes = np.floor(np.clip(images.gray, 0, 1) * 255 + 0.5).astype(np.uint8)
        medians = np.stack([cv2.medianBlur(image, window) for image in codes])
        return (images.gray - medians.astype(np.float32) / 255).astype(np.float32)


class Slic(ControlDetector):
    """Difference from the true superpixel proxies; with ``proxy_size`` from those of that tile size, enlarged."""

    rebuilds = needs_proxies = True

    def images(self, tiles: TileSet) -> CanvasImages:
        """Images at the control's size, their proxies enlarged to it."""
        size = self.options.get("proxy_size")
        if size is None or tiles.proxies is None:
            return super().images(tiles)
        small = stitched(at_size(tiles, tuple(size), self.neutral), self.canvas)
        whole = super().images(replace(tiles, proxies=None))
        assert small.proxies is not None
        planes = proxy_plane(small.proxies, small.pixels.shape[1])
        shape = (whole.pixels.shape[2], whole.pixels.shape[3])
        return replace(whole, proxies=np.stack([enlarge(plane, shape) for plane in planes])[:, None])

    def difference(self, images: CanvasImages) -> Array:
        """``ConfigError`` for images without proxies."""
        if images.proxies is None:
            raise ConfigError("the control 'slic' needs the proxies of the images")
        return images.gray - proxy_plane(images.proxies, images.pixels.shape[1])


def proxy_plane(proxies: Array, channels: int) -> Array:
    """(n, H, W) of proxies (n, K, H, W): the channel that ``gray`` takes from the tile, or the mean if K differs."""
    return lead(proxies) if proxies.shape[1] == channels else proxies.mean(axis=1, dtype=np.float32)


class Neutral(ControlDetector):
    """Difference from the gray level ``neutral``, 0 to 255, of the form: the canonical image itself."""

    def difference(self, images: CanvasImages) -> Array:
        """Signed difference."""
        neutral: float = self.options["neutral"] / 255
        return images.gray - neutral


class Value(ControlDetector):
    """A value of each pixel, measured directly."""

    raw = True

    def parts_of(self, images: CanvasImages, residual: Array) -> Array:
        """The values are one part."""
        return residual[:, None]


class Brightness(Value):
    """Gray level."""

    def difference(self, images: CanvasImages) -> Array:
        """In [0, 1]."""
        return images.gray


class Darkness(Value):
    """1 − gray level."""

    def difference(self, images: CanvasImages) -> Array:
        """In [0, 1]."""
        return 1 - images.gray


class Centre(Value):
    """Closeness to the centre of the canvas."""

    def difference(self, images: CanvasImages) -> Array:
        """The same for every image."""
        count, height, width = images.validity.shape
        rows, cols = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        return np.repeat((2 - np.hypot(rows, cols)).astype(np.float32)[None], count, axis=0)


CONTROLS: Mapping[str, type[ControlDetector]] = {
    "pca": Pca,
    "similar_mean": SimilarMean,
    "median": Median,
    "slic": Slic,
    "nearest": Nearest,
    "patch_neighbour": PatchNeighbour,
    "line_blob": Neutral,  # the lines are those of ``Control.score``
    "canonical": Neutral,
    "pixel_classifier": PixelClassifier,
    "feature_neighbour": FeatureNeighbour,
    "brightness": Brightness,
    "darkness": Darkness,
    "centre": Centre,
}
RAW = frozenset(name for name, kind in CONTROLS.items() if kind.raw)
"""Controls whose values are measured directly, without statistics of normals."""
PRETRAINED = frozenset(name for name, kind in CONTROLS.items() if kind.pretrained)
"""Controls with weights that were trained on other images."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control on one canvas; controls of one name are added over their canvases."""

    name: str  # key of CONTROLS
    canvas: str
    size: tuple[int, int]  # rows and columns of a tile, px
    score: ScoreConfig = field(default_factory=ScoreConfig)
    options: Mapping[str, Any] = field(default_factory=dict)  # arguments of the control, and ``raw`` for its evaluation

    def __post_init__(self) -> None:
        if self.name not in CONTROLS:
            raise ConfigError(f"Control.name is one of {sorted(CONTROLS)}, got {self.name!r}")
        if self.score.beside and not CONTROLS[self.name].rebuilds:
            known = ", ".join(sorted(name for name, kind in CONTROLS.items() if kind.rebuilds))
            raise ConfigError(f"Control.score.beside: only {known} give residuals of normals, not {self.name}")
        if self.name == "line_blob" and not self.score.lines:
            raise ConfigError("the control 'line_blob' needs the lengths of its lines: Control.score.lines, got none")

    @property
    def kind(self) -> type[ControlDetector]:
        """Its class."""
        return CONTROLS[self.name]

    def common(self, neutral: int) -> dict[str, Any]:
        """The fields of every detector."""
        options = {name: value for name, value in self.options.items() if name != "raw"}
        return {"canvas": self.canvas, "size": self.size, "score": self.score, "neutral": neutral, "options": options}

    def fit(self, tiles: Version, proxies: Version | None = None) -> ControlDetector:
        """Fit to the training normals of a tiles version; ``proxies`` are read by controls that need them."""
        train = None
        if self.kind.needs_normals or self.score.beside:
            true = proxies if self.kind.needs_proxies else None
            held = load_tiles(tiles, true, splits=("train",), canvas=self.canvas, size=self.size)
            train = stitched(held, self.canvas)
        return self.kind.fit(train, **self.common(read_neutral(tiles.path)))
