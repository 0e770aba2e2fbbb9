"""Nearest training normals as controls that no learned method may lose to."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from models.scoring import Array
from pipeline.detectors.controls.base import ControlDetector
from pipeline.detectors.images import CanvasImages
from pipeline.detectors.neighbour import NeighbourConfig, patch_neighbour_map
from pipeline.detectors.similar import Masks, ranking, with_mirrors


@dataclass(frozen=True, kw_only=True)
class _Bank(ControlDetector):
    gray: Array  # (n, H, W) of training normals
    seen: Masks

    needs_normals = copies_normals = True

    @classmethod
    def fitted(cls, train: CanvasImages | None, **common: Any) -> Self:
        """Keep the training normals."""
        assert train is not None, "a comparison with normals needs training normals"
        return cls(gray=train.gray, seen=train.seen, **common)


class Nearest(_Bank):
    """The nearest training image or mirror image."""

    @cached_property
    def _mirrored(self) -> Array:
        return with_mirrors(self.gray, True)

    def difference(self, images: CanvasImages) -> Array:
        """Signed difference from it."""
        pairs = zip(images.gray, images.scored, strict=True)
        return np.stack([gray - self._mirrored[ranking(self._mirrored, gray, mask, 1)[0]] for gray, mask in pairs])


class PatchNeighbour(_Bank):
    """Local differences from similar normals; options are those of ``NeighbourConfig``."""

    def difference(self, images: CanvasImages) -> Array:
        """Smallest local mean absolute difference (n, H, W)."""
        config = NeighbourConfig(**self.options)
        return patch_neighbour_map(self.gray, images.gray, self.seen, images.scored, config)
