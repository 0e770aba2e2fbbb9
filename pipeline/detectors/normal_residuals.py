"""Compare a residual with those of similar training normals: structure they share is no anomaly.

A narrow latent blurs the anatomy of normals as well, so outlines stay in every residual, a few pixels apart from one
head to the next. Statistics of a place cannot tell them from a lesion; a similar normal that may move a little can.
Legend: n training normals, m images, H, W canvas px.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from models.scoring import Array, ScoreConfig
from pipeline.detectors.images import CanvasImages, enlarge
from pipeline.detectors.neighbour import NeighbourConfig, patch_neighbour_map
from pipeline.detectors.similar import Masks, area_means, covered

MEASURED_AT = 64
"""Rows of a canvas at which the reach of the search was measured. Larger canvases are compared at this size, because
the cost of the search grows with the fourth power of the side."""

OWN_REACH = 3
"""Canvas px, at ``MEASURED_AT``, by which the image's own mirror may move."""


@dataclass(frozen=True)
class NormalResiduals:
    """A method's residuals of the training normals."""

    images: Array  # (n, H, W) in [0, 1], compared with the image
    scored: Masks  # (n, H, W)
    residual: Array  # (n, H, W) signed

    @classmethod
    def of(cls, normals: CanvasImages, residual: Array) -> "NormalResiduals":
        """Residuals (n, H, W) of ``normals``, sampled down to at most ``MEASURED_AT`` rows."""
        height, width = residual.shape[1:]
        factor = min(1.0, MEASURED_AT / height)
        shape = round(factor * height), round(factor * width)
        return cls(area_means(normals.gray, shape), covered(normals.scored, shape), area_means(residual, shape))

    @classmethod
    def joined(cls, blocks: Sequence["NormalResiduals"]) -> "NormalResiduals":
        """Residuals of several blocks of normals as one."""
        return cls(*(np.concatenate([getattr(one, field.name) for one in blocks]) for field in fields(cls)))

    def difference(self, images: CanvasImages, residual: Array, config: ScoreConfig) -> Array:
        """Smallest local mean difference (m, H, W), ≥ 0, of residuals (m, H, W) from those of similar normals.

        Candidates are the ``config.beside`` most similar normals, their mirror images, and with ``own_mirror`` the
        image's own mirror image. No image may share a group with a training normal. Images larger than the normals are
        compared at the normals' size, and the map is enlarged.
        """
        shape, own = self.images.shape[1:], (residual.shape[1], residual.shape[2])
        found = patch_neighbour_map(
            self.images,
            area_means(images.gray, shape),
            self.scored,
            covered(images.scored, shape),
            _search(config, shape[0]),
            values=(self.residual, area_means(residual, shape)),
        )
        return found if shape == own else np.stack([enlarge(one, own) for one in found])


def _search(config: ScoreConfig, height: int) -> NeighbourConfig:
    """The search that ``config`` asks for on canvases ``height`` px high."""
    usual, factor = NeighbourConfig(), height / MEASURED_AT
    return NeighbourConfig(
        neighbours=config.beside,
        patch=2 * round(factor * (usual.patch // 2)) + 1,
        shift=round(factor * usual.shift),
        mirrored=config.mirrored,
        own_mirror=round(factor * OWN_REACH) if config.own_mirror else -1,
    )
