"""A residual beside those of similar training normals: what they leave too is no sign of an anomaly.

A narrow latent blurs the anatomy of normals as well, so outlines stay in every residual, a few pixels apart from one
head to the next. Statistics of a place cannot tell them from a lesion; a similar normal that may move a little can.
Legend: n training normals, m images, H, W canvas px.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.scoring import Array, ScoreConfig
from pipeline.detectors.neighbour import Masks, NeighbourConfig, patch_neighbour_map
from pipeline.detectors.scorers import CanvasImages, enlarge

MEASURED_AT = 64
"""Rows of a canvas at which the reach of the search was measured, and at which larger canvases are compared: the search
costs the fourth power of the side."""

OWN_REACH = 3
"""Canvas px, at ``MEASURED_AT``, by which the image's own mirror may move."""


@dataclass(frozen=True)
class NormalResiduals:
    """What a method leaves of the training normals."""

    images: Array  # (n, H, W) in [0, 1]: what likeness is judged by
    scored: Masks  # (n, H, W)
    residual: Array  # (n, H, W) signed

    @classmethod
    def of(cls, images: Array, scored: Masks, residual: Array) -> "NormalResiduals":
        """What is left of normals (n, H, W), sampled down to ``MEASURED_AT`` rows where there are more."""
        shape = _compared(images.shape[1], images.shape[2])
        return cls(_sampled(images, shape), _covered(scored, shape), _sampled(residual, shape))

    def unlike(self, images: CanvasImages, residual: Array, config: ScoreConfig) -> Array:
        """How far residuals (m, H, W) differ at least from those of similar normals, in local mean (m, H, W), ≥ 0.

        The ``config.beside`` most similar normals and their mirrors are asked, and with ``own_mirror`` the image's
        other half. None of ``images`` may be of a training normal's group. Images larger than the normals are compared
        at the normals' size, and the map is enlarged.
        """
        shape, own = self.images.shape[1:], residual.shape[1:]
        found = patch_neighbour_map(
            self.images,
            _sampled(images.gray, (shape[0], shape[1])),
            train_mask=self.scored,
            query_mask=_covered(images.scored, (shape[0], shape[1])),
            values=(self.residual, _sampled(residual, (shape[0], shape[1]))),
            config=_search(config, shape[0]),
        )
        return found if shape == own else np.stack([enlarge(one, (own[0], own[1])) for one in found])


def _compared(height: int, width: int) -> tuple[int, int]:
    factor = min(1.0, MEASURED_AT / height)
    return round(factor * height), round(factor * width)


def _sampled(planes: NDArray[np.floating], shape: tuple[int, int]) -> Array:
    """Planes (n, H, W) at another size, area means."""
    if planes.shape[1:] == shape:
        return np.asarray(planes, np.float32)
    small = [cv2.resize(np.asarray(one, np.float32), shape[::-1], interpolation=cv2.INTER_AREA) for one in planes]
    return np.asarray(small, np.float32).reshape(len(planes), *shape)


def _covered(masks: Masks, shape: tuple[int, int]) -> Masks:
    """Masks (n, H, W) at another size: cells of which at least half is covered."""
    return masks if masks.shape[1:] == shape else _sampled(masks.astype(np.float32), shape) >= 0.5


def _search(config: ScoreConfig, height: int) -> NeighbourConfig:
    """The search of ``ScoreConfig.beside`` on canvases of that height, px."""
    usual, factor = NeighbourConfig(), height / MEASURED_AT
    return NeighbourConfig(
        neighbours=config.beside,
        patch=2 * round(factor * (usual.patch // 2)) + 1,
        shift=round(factor * usual.shift),
        mirrored=config.mirrored,
        own_mirror=round(factor * OWN_REACH) if config.own_mirror else -1,
    )
