"""Controls by name, and how one is fitted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.scoring import ScoreConfig
from pipeline.detectors.contract import ControlDetector
from pipeline.detectors.controls.filters import Brightness, Centre, Darkness, Median, Neutral, Slic
from pipeline.detectors.controls.nearest import Nearest, PatchNeighbour, SimilarMean
from pipeline.detectors.controls.pca import Pca
from pipeline.detectors.controls.pixel_classifier import PixelClassifier
from pipeline.detectors.images import stitched
from pipeline.errors import ConfigError
from pipeline.store.versions import Version
from pipeline.tiles.loading import load_tiles, read_neutral

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
    "brightness": Brightness,
    "darkness": Darkness,
    "centre": Centre,
}
RAW = frozenset(name for name, kind in CONTROLS.items() if kind.raw)
"""Controls whose values are measured directly, without statistics of normals."""


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
