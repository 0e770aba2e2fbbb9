"""Segmentation of synthetic anomalies: a U-Net marks the pixels that were altered in normal images.

As the discriminative network of DRAEM (Zavrtanik et al., ICCV 2021) without its reconstruction; no real lesion is seen.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from models import losses as terms
from models import ranks
from models.method import Batch, MethodConfig, Scores, Widths, left_open
from models.methods.makers import MakerConfig, make_anomalies
from models.methods.reconstruction import ReconstructionMethod
from models.nets.encoder_decoder import EncoderDecoder

NOTHING = -6.0  # log-odds at which a map begins; anything below counts as normal
COUNT = (0, 3)  # range of the number of lesions per image; with 0 the network also sees untouched normals


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig(MethodConfig):
    """Configuration of `Segmentation`."""

    widths: Widths = left_open((64, 128, 256, 512), "as ProxyAno; the size is halved between two widths", least=1)
    makers: tuple[str, ...] = left_open(("blob", "ring", "dots", "noise"), "anomaly makers; each lesion draws one")
    maker_strength: tuple[float, float] = left_open((0.05, 0.5), "largest change of a pixel in [0, 1]")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lesions()

    def lesions(self) -> MakerConfig:
        """Parameters of the lesions that the makers draw."""
        return MakerConfig(makers=self.makers, strength=self.maker_strength, count=COUNT)


class Segmentation(ReconstructionMethod):
    """Log-odds that a pixel was altered. It rebuilds nothing: Î is the image, and its own score is its map's mean."""

    name: ClassVar[str] = "segmentation"
    label: ClassVar[str] = "Segmentation of synthetic anomalies"
    config_type: ClassVar[type[MethodConfig]] = SegmentationConfig
    config: SegmentationConfig

    def __init__(self, config: SegmentationConfig) -> None:
        super().__init__(config)
        self.network = EncoderDecoder(config.channels, 1, config.widths, config.widths[-1], skips=True)

    def _reconstruct(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Losses of the log-odds against the altered pixels: cross-entropy, and Dice with weight 0.1."""
        draw = torch.Generator().manual_seed(0) if generator is None else generator
        valid, whole = batch.valid, batch.changed(ranks.everyone, ranks.everyone)
        images = whole.image, whole.image, whole.valid
        made = make_anomalies(*images, draw, self.config.lesions(), places=whole.score_mask())
        altered, mask = (ranks.mine(value) for value in made)
        odds = self.network(altered).float()
        cross = functional.binary_cross_entropy_with_logits(odds, mask, reduction="none")
        chance = odds.sigmoid() * valid
        both, either = (chance * mask).sum(dim=(1, 2, 3)), (chance + mask).sum(dim=(1, 2, 3))
        overlap = 0.1 * (1 - (2 * both + 1) / (either + 1)).mean()
        return {"marked": (cross * valid).sum() / ranks.mean(valid.sum()).clamp(min=1), "overlap": overlap}

    def _score(self, batch: Batch) -> Scores:
        """Mean of the map over scored pixels; the map (B, C, H, W) ≥ 0 says how far log-odds are above `NOTHING`."""
        odds = self.network(batch.image).float()
        found = functional.softplus(odds - NOTHING) * batch.valid
        scores = self.scores(batch, batch.image, terms.image_mean(found, batch.score_mask()))
        return replace(scores, map=found.expand_as(batch.image))
