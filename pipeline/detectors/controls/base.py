"""A control as a detector: fitted on training normals, without a trained network."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, ClassVar, Self

from models.scoring import Array
from pipeline.detectors.contract import CanvasDetector, PixelMaps
from pipeline.detectors.images import CanvasImages, stitched
from pipeline.detectors.normal_residuals import NormalResiduals
from pipeline.tiles.loading import TileSet, at_size


@dataclass(frozen=True)
class ControlDetector(CanvasDetector):
    """A control whose parts are those of a signed difference. Subclasses hold what they learned as arrays."""

    _: KW_ONLY
    options: Mapping[str, Any] = field(default_factory=dict)  # arguments of the control

    needs_normals: ClassVar[bool] = False
    """Whether fitting reads training normals."""
    needs_proxies: ClassVar[bool] = False
    """Whether scoring reads the true proxies of the images."""
    rebuilds: ClassVar[bool] = False
    """Whether the difference is a residual I − Î, so that it may be compared with those of similar normals."""
    raw: ClassVar[bool] = False
    """Whether its values are measured directly: statistics of normals would change their meaning."""

    @classmethod
    def fitted(cls, train: CanvasImages | None, **common: Any) -> Self:
        """Fit to training normals; ``common`` are the fields of every detector."""
        return cls(**common)

    @classmethod
    def read_options(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Options as they were before they were written as JSON."""
        return options

    @classmethod
    def nested(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Fields that are not arrays of what the control has learned."""
        return {}

    @abstractmethod
    def difference(self, images: CanvasImages) -> Array:
        """Signed difference (n, H, W) of images from what the control expects."""

    @classmethod
    def fit(cls, train: CanvasImages | None, **common: Any) -> Self:
        """``fitted``, and with ``ScoreConfig.beside`` the residuals of the normals as well."""
        found = cls.fitted(train, **common)
        if not found.score.beside:
            return found
        assert train is not None, "residuals of normals need normals"
        return replace(found, beside=NormalResiduals.of(train, found.difference(train)))

    def images(self, tiles: TileSet) -> CanvasImages:
        """The images at the control's size."""
        return stitched(at_size(tiles, self.size, self.neutral), self.canvas)

    def maps(self, tiles: TileSet) -> PixelMaps:
        """Maps of ``tiles``."""
        images = self.images(tiles if self.needs_proxies else replace(tiles, proxies=None))
        found = self.difference(images)
        return PixelMaps(images, self.parts_of(images, self.steady(images, found)), found)
