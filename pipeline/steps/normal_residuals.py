"""A residual beside those of similar training normals: what they leave too is no sign of an anomaly.

A narrow latent blurs the anatomy of normals as well, so outlines stay in every residual, a few pixels apart from one
head to the next. Statistics of a place cannot tell them from a lesion; a similar normal that may move a little can.
Legend: n training normals, m images, H, W canvas px.
"""

from dataclasses import dataclass

from models.scoring import Array, ScoreConfig
from pipeline.steps.controls.neighbour import Masks, NeighbourConfig, patch_neighbour_map
from pipeline.steps.scorers import CanvasImages

MEASURED_AT = 64
"""Canvas px at which the reach of the search was measured; other canvases have it in proportion."""

OWN_REACH = 3
"""Canvas px, at ``MEASURED_AT``, by which the image's own mirror may move."""


@dataclass(frozen=True)
class NormalResiduals:
    """What a method leaves of the training normals."""

    images: Array  # (n, H, W) in [0, 1]: what likeness is judged by
    scored: Masks  # (n, H, W)
    residual: Array  # (n, H, W) signed

    def unlike(self, images: CanvasImages, residual: Array, config: ScoreConfig) -> Array:
        """How far residuals (m, H, W) differ at least from those of similar normals, in local mean (m, H, W), ≥ 0.

        The ``config.beside`` most similar normals and their mirrors are asked, and with ``own_mirror`` the image's
        other half. None of ``images`` may be of a training normal's group.
        """
        return patch_neighbour_map(
            self.images,
            images.gray,
            train_mask=self.scored,
            query_mask=images.scored,
            values=(self.residual, residual),
            config=_search(config, images.gray.shape[1]),
        )


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
