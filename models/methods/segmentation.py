"""Segmentation of synthetic anomalies: a U-Net marks what anomaly makers altered in normal images.

As the discriminative network of DRAEM (Zavrtanik et al., ICCV 2021) without its reconstruction; the anomalies are those
of `models.methods.makers`, drawn anew in every batch. No real lesion is involved.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from models import losses as terms
from models.card import left_open
from models.method import Batch, MethodConfig, Scores
from models.methods.makers import MakerConfig, make_anomalies
from models.methods.reconstruction import ReconstructionMethod, ResidualConfig
from models.nets.marker import Marker, marks


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig(ResidualConfig):
    """Configuration of `Segmentation`."""

    widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512), metadata=left_open("ProxyAno's own; one size-halving between two widths")
    )
    makers: tuple[str, ...] = field(
        default=("blob", "ring", "dots", "noise"), metadata=left_open("anomaly makers; each lesion draws one")
    )
    maker_radius: tuple[float, float] = field(
        default=(0.03, 0.25), metadata=left_open("half-axes of the makers' lesions, shares of the shorter side")
    )
    maker_strength: tuple[float, float] = field(
        default=(0.05, 0.5), metadata=left_open("largest change of a pixel in [0, 1]")
    )
    maker_count: tuple[int, int] = field(
        default=(0, 3), metadata=left_open("lesions an image; with 0 the network also sees untouched normals")
    )
    focus: float = field(
        default=0.0, metadata=left_open("γ of the focal loss (Lin et al., ICCV 2017), ≥ 0; 0 = cross-entropy")
    )
    overlap: float = field(default=0.1, metadata=left_open("weight of the Dice loss, ≥ 0"))

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        self.lesions()
        if min(self.widths, default=0) < 1:
            raise ValueError(f"SegmentationConfig.widths are at least 1, got {self.widths}")
        if min(self.focus, self.overlap) < 0:
            raise ValueError(f"SegmentationConfig: focus and overlap are at least 0, got {self.focus}, {self.overlap}")

    def lesions(self) -> MakerConfig:
        """What the makers draw from."""
        return MakerConfig(
            makers=self.makers, radius=self.maker_radius, strength=self.maker_strength, count=self.maker_count
        )


class Segmentation(ReconstructionMethod):
    """Log-odds that a pixel was altered. It rebuilds nothing: Î is the image, and its own score is its map's mean."""

    name: ClassVar[str] = "segmentation"
    config_type: ClassVar[type[MethodConfig]] = SegmentationConfig
    config: SegmentationConfig

    def __init__(self, config: SegmentationConfig) -> None:
        super().__init__()
        self.config = config
        self.network = Marker(config.channels, config.widths)

    def _losses(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(0) if generator is None else generator
        altered, mask = make_anomalies(
            batch.image, batch.image, batch.valid, draw, self.config.lesions(), places=batch.score_mask()
        )
        odds = self.network(altered).float()
        return terms.marking(odds, mask, batch.valid, focus=self.config.focus, overlap=self.config.overlap)

    def _score(self, batch: Batch) -> Scores:
        """Mean of the map over scored pixels; the map is the log-odds from `NOTHING` on, the same in every channel."""
        batch = self.filled(batch)
        found = marks(self.network(batch.image).float(), batch.valid)
        own = terms.image_mean(found, batch.score_mask())
        scores = self.scores(batch, batch.image, own)
        return Scores(**{**vars(scores), "map": found.expand_as(batch.image)})
