"""pix2pix: from the true proxy to the image; anomalous is what cannot be told from the proxy.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017; equation numbers are the
paper's. The networks work in [−1, 1].
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from models import losses as terms
from models.card import left_open, stated
from models.method import Batch, MethodConfig, Phase, Scores, Stage
from models.methods.reconstruction import ResidualConfig, ResidualMethod
from models.methods.signed import signed, unsigned
from models.nets.batch_statistics import batch_statistics
from models.nets.patchgan import PatchGAN
from models.nets.u_net import UNet

_BETAS = (0.5, 0.999)  # of Adam, both phases: the paper's


@dataclass(frozen=True, kw_only=True)
class Pix2PixConfig(ResidualConfig):
    """Configuration of `Pix2Pix`."""

    widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512, 512, 512, 512, 512),
        metadata=stated("U-Net for 256 px, one size-halving a width; smaller images need fewer"),
    )
    discriminator_widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512), metadata=stated("PatchGAN that sees 70×70 px")
    )
    lambda_l1: float = field(default=100.0, metadata=stated("λ of Eq. 4: weight of |x − x̂| in [−1, 1], ≥ 0"))
    dropout: bool = field(
        default=True, metadata=stated("chance in the generator; only nets of more than five widths have any")
    )
    norm: str = field(
        default="batch",
        metadata=left_open("norm of the discriminator, 'batch' or 'instance'; at the paper's batch of 1 they are one"),
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        self._at_least("lambda_l1", 0)
        for name in ("widths", "discriminator_widths"):
            if min(getattr(self, name), default=0) < 1:
                raise ValueError(f"Pix2PixConfig.{name} are at least 1, got {getattr(self, name)}")


class Pix2Pix(ResidualMethod):
    """G(proxy(x)) against a judge of pairs (proxy, image); its own score is the mean of |x − G(proxy(x))|."""

    name: ClassVar[str] = "pix2pix"
    config_type: ClassVar[type[MethodConfig]] = Pix2PixConfig
    needs_proxy: ClassVar[bool] = True
    config: Pix2PixConfig

    def __init__(self, config: Pix2PixConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = UNet(config.channels, config.widths)
        self.discriminator = PatchGAN(2 * config.channels, config.discriminator_widths, norm=config.norm)
        judge = Phase(name="judge", modules=("discriminator",), betas=_BETAS)
        generate = Phase(name="generate", modules=("generator",), betas=_BETAS)
        self.stages = (Stage(name="stage1", phases=(judge, generate)),)

    def losses(self, stage: str, phase: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Eq. 1 for the judge; −E[log D] + λ·L1 for the generator (Eq. 4, not saturating)."""
        batch = self.filled(batch)
        chance = generator if self.config.dropout else None
        match stage, phase:
            case "stage1", "judge":
                with torch.no_grad(), batch_statistics(self.generator):
                    fake = self._made(batch, chance)
                logits = self._logits(batch, batch.image), self._logits(batch, fake)
                return {"judge": terms.discriminator_adversarial(*logits)}
            case "stage1", "generate":
                fake = self._made(batch, chance)
                with batch_statistics(self.discriminator):
                    fooled = terms.generator_adversarial(self._logits(batch, fake), saturating=False)
                return {"adversarial": fooled} | self._error(batch, fake)
        raise ValueError(f"pix2pix has no phase {phase!r} in stage {stage!r}")

    def validation(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """L1 from the true proxy, without dropout."""
        del stage
        batch = self.filled(batch)
        return self._error(batch, self._made(batch, None))

    def _score(self, batch: Batch) -> Scores:
        """Mean |x − G(proxy(x))| over scored pixels, and the scores for all; the proxy is the one given."""
        batch = self.filled(batch)
        rebuilt = self._made(batch, None)
        own = terms.image_mean((batch.image - rebuilt).abs(), batch.score_mask())
        return replace(self.scores(batch, rebuilt, own), proxy=batch.true_proxy())

    def filled(self, batch: Batch) -> Batch:
        """As for all methods, and the proxy filled too."""
        filled = super().filled(batch)
        return replace(filled, proxy=self.masked(batch.true_proxy(), batch))

    def _error(self, batch: Batch, fake: Tensor) -> dict[str, Tensor]:
        error = terms.masked_absolute(signed(fake), signed(batch.image), batch.valid)
        return {"reconstruction": self.config.lambda_l1 * error}

    def _made(self, batch: Batch, chance: torch.Generator | None) -> Tensor:
        return self.masked(unsigned(self.generator(signed(batch.true_proxy()), chance)), batch)

    def _logits(self, batch: Batch, image: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(torch.cat((signed(batch.true_proxy()), signed(image)), dim=1))
        return logits
