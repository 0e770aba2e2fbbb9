"""pix2pix: from the true proxy to the image; anomalous is what cannot be told from the proxy.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017; equation numbers are the
paper's. The networks work in [−1, 1].
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from models import losses as terms
from models.card import stated
from models.method import Batch, MethodConfig, Scores
from models.methods.adversarial import AdversarialMethod
from models.methods.reconstruction import signed, unsigned
from models.nets.patchgan import PatchGAN
from models.nets.u_net import UNet

LAMBDA_L1 = 100.0
"""λ of Eq. 4 (stated): weight of |x − x̂| in [−1, 1]."""


@dataclass(frozen=True, kw_only=True)
class Pix2PixConfig(MethodConfig):
    """Configuration of `Pix2Pix`.

    The discriminator has batch norm; at the paper's batch of 1 that is instance norm.
    """

    widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512, 512, 512, 512, 512),
        metadata=stated("U-Net for 256 px, one size-halving per width; smaller images need fewer", least=1),
    )
    discriminator_widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512), metadata=stated("PatchGAN that sees 70×70 px", least=1)
    )


class Pix2Pix(AdversarialMethod):
    """G(proxy(x)) against a discriminator of pairs (proxy, image); its own score is the mean of |x − G(proxy(x))|."""

    name: ClassVar[str] = "pix2pix"
    label: ClassVar[str] = "pix2pix"
    config_type: ClassVar[type[MethodConfig]] = Pix2PixConfig
    needs_proxy: ClassVar[bool] = True

    def __init__(self, config: Pix2PixConfig) -> None:
        super().__init__(config)
        self.generator = UNet(config.channels, config.widths)
        self.discriminator = PatchGAN(2 * config.channels, config.discriminator_widths, norm="batch")

    def _generate(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """−E[log D] + λ·L1 (Eq. 4, not saturating)."""
        fake = self._fake(batch, generator)
        return {"adversarial": self._fooled(batch, fake)} | self._error(batch, fake)

    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """L1 from the true proxy, without dropout."""
        del stage
        return self._error(batch, self._fake(batch, None))

    def _score(self, batch: Batch) -> Scores:
        """Mean |x − G(proxy(x))| over scored pixels, and the scores of all methods; the proxy is the given one."""
        return replace(self.scores(batch, self._fake(batch, None)), proxy=batch.true_proxy())

    def _error(self, batch: Batch, fake: Tensor) -> dict[str, Tensor]:
        error = terms.masked_absolute(signed(fake), signed(batch.image), batch.valid)
        return {"reconstruction": LAMBDA_L1 * error}

    def _fake(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """The generated images; dropout comes from the generator of random numbers, and is off without one."""
        return self.masked(unsigned(self.generator(signed(batch.true_proxy()), generator)), batch)

    def _logits(self, batch: Batch, image: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(torch.cat((signed(batch.true_proxy()), signed(image)), dim=1))
        return logits
