"""A comparing head on ProxyAno: where do an image and its repaired reconstruction differ in a way that matters?

An extension, not the paper's. Stages 1 and 2 are ProxyAno's; stage 3 freezes them and trains a small network with
skips that sees the image and the reconstruction and marks the pixels that the anomaly makers altered, as the
discriminative network of DRAEM does (Zavrtanik et al., ICCV 2021). All anomalies are made from normals.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from models.card import left_open
from models.losses import marking
from models.method import Batch, MethodConfig, Phase, Scores, Stage
from models.methods.contrast import stretched
from models.methods.makers import make_anomalies
from models.methods.proxyano import ProxyAno
from models.methods.proxyano_config import ProxyAnoConfig
from models.nets.marker import Marker, marks


@dataclass(frozen=True, kw_only=True)
class ComparingConfig(ProxyAnoConfig):
    """Configuration of `Comparing`."""

    makers: tuple[str, ...] = field(
        default=("blob", "ring", "dots", "noise", "streak", "patch", "bump"),
        metadata=left_open("anomaly makers of stages 2 and 3; at least one"),
    )
    head_widths: tuple[int, ...] = field(
        default=(24, 48, 64, 64), metadata=left_open("encoder and decoder of the head, one size-halving between two")
    )
    head_count: tuple[int, int] = field(
        default=(0, 3), metadata=left_open("lesions in an image of stage 3; with 0 it also sees untouched normals")
    )
    focus: float = field(
        default=1.0, metadata=left_open("γ of the focal loss (Lin et al., ICCV 2017), ≥ 0; 0 = cross-entropy")
    )
    overlap: float = field(default=0.1, metadata=left_open("weight of the Dice loss, ≥ 0"))

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if not self.makers:
            raise ValueError("ComparingConfig.makers needs at least one maker, got none")
        if min(self.head_widths, default=0) < 1:
            raise ValueError(f"ComparingConfig.head_widths are at least 1, got {self.head_widths}")
        if not 0 <= self.head_count[0] <= self.head_count[1] or self.head_count[1] < 1:
            raise ValueError(f"ComparingConfig.head_count is a range (from ≥ 0, to ≥ 1), got {self.head_count}")
        if min(self.focus, self.overlap) < 0:
            raise ValueError(f"ComparingConfig: focus and overlap are at least 0, got {self.focus}, {self.overlap}")


class Comparing(ProxyAno):
    """ProxyAno whose map is what a trained head makes of image and reconstruction."""

    name: ClassVar[str] = "proxyano_comparing"
    config_type: ClassVar[type[MethodConfig]] = ComparingConfig
    config: ComparingConfig

    def __init__(self, config: ComparingConfig) -> None:
        super().__init__(config)
        self.comparison = Marker(3 * config.channels, config.head_widths)
        compare = Phase(name="compare", modules=("comparison",))
        self.stages = (*self.stages, Stage(name="stage3", phases=(compare,)))

    def losses(self, stage: str, phase: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """ProxyAno's, and those of the head."""
        if (stage, phase) != ("stage3", "compare"):
            return super().losses(stage, phase, batch, generator)
        return self._marked(self._filled(batch), generator)

    def validation(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """ProxyAno's; for the head, its losses on anomalies that are the same at every call."""
        if stage != "stage3":
            return super().validation(stage, batch)
        return self._marked(self._filled(batch), torch.Generator().manual_seed(0))

    def _score(self, batch: Batch) -> Scores:
        """ProxyAno's scores; as map the head's log-odds above `NOTHING`, the same in every channel."""
        own = super()._score(batch)
        filled = self._filled(batch)
        odds = self._odds(filled.image, stretched(own.reconstruction, self.config.contrast))
        return replace(own, map=marks(odds, batch.valid).expand_as(own.residual))

    def _odds(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """Log-odds; the difference is given too, so that the first layer need not learn it."""
        seen = torch.cat((image, reconstruction, image - reconstruction), dim=1)
        odds: Tensor = self.comparison(seen).float()
        return odds

    def _marked(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Focal and Dice loss of the head's log-odds against the mask of what was altered."""
        config = self.config
        lesions = replace(config.lesions(), count=config.head_count)
        with torch.no_grad():
            places = batch.score_mask()
            altered, mask = make_anomalies(batch.image, batch.image, batch.valid, generator, lesions, places=places)
            proxy, _ = self.extraction(altered, batch.valid)
            repaired = self._masked(self.reconstruction(self._masked(proxy, batch)), batch)
        return marking(self._odds(altered, repaired), mask, batch.valid, focus=config.focus, overlap=config.overlap)
