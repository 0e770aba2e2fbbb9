"""Cycle-GAN between images and proxies; anomalous is what the way image → proxy → image does not bring back.

Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV 2017; equation
numbers are the paper's. The networks work in [−1, 1]. A cycle can smuggle lesions through its proxies, so images made
from the true proxy can be scored as well (`score_from`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from models import losses as terms
from models.card import left_open, stated
from models.method import Batch, MethodConfig, Scores
from models.methods.adversarial import adversarial_stage
from models.methods.reconstruction import ResidualMethod, signed, unsigned
from models.nets.image_pool import ImagePool
from models.nets.patchgan import PatchGAN
from models.nets.residual_translator import ResidualTranslator

LAMBDA_CYCLE = 10.0
"""λ of Eq. 3 (stated), both ways, on |·| in [−1, 1]."""
LAMBDA_IDENTITY = 0.5 * LAMBDA_CYCLE
"""Weight of the identity loss (Section 5.2; stated)."""
POOL = 50
"""Earlier fakes that a discriminator may see again (stated)."""


@dataclass(frozen=True, kw_only=True)
class CycleGANConfig(MethodConfig):
    """Configuration of `CycleGAN`."""

    size: tuple[int, int] = field(
        default=(256, 256), metadata=stated("rows and columns of the images, for the pools; training sets it", least=1)
    )
    translator_widths: tuple[int, ...] = field(
        default=(64, 128, 256), metadata=stated("generators: one size-halving between two widths", least=1)
    )
    blocks: int = field(
        default=9, metadata=stated("residual blocks of a generator; the paper takes 6 below 256 px", least=0)
    )
    discriminator_widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512), metadata=stated("PatchGANs that see 70×70 px", least=1)
    )
    score_from: str = field(
        default="image",
        metadata=left_open(
            "Î is made from the 'image' by both generators, or by the second from its true 'proxy'",
            choices=("image", "proxy"),
        ),
    )


class Judge(nn.Module):
    """The discriminator of one domain and its pool of earlier fakes."""

    def __init__(self, config: CycleGANConfig) -> None:
        super().__init__()
        self.discriminator = PatchGAN(config.channels, config.discriminator_widths, norm="instance")
        self.pool = ImagePool(POOL, config.channels, config.size)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of images in [0, 1]."""
        logits: Tensor = self.discriminator(signed(image)).float()
        return logits

    def loss(self, real: Tensor, fake: Tensor, generator: torch.Generator) -> Tensor:
        """½·E[(D(real) − 1)²] + ½·E[D(fake)²], fakes partly from the pool."""
        seen = self(self.pool(fake, generator))
        made: Tensor = ((self(real) - 1).square().mean() + seen.square().mean()) / 2
        return made


class _Cycles(NamedTuple):
    """Fakes of both domains, and both domains brought back; all in [0, 1]."""

    proxy: Tensor  # A(x)
    image: Tensor  # B(p)
    image_again: Tensor  # B(A(x))
    proxy_again: Tensor  # A(B(p))


class CycleGAN(ResidualMethod):
    """A: image → proxy, B: proxy → image; its own score is the mean of |x − B(A(x))|, or of |x − B(p)|."""

    name: ClassVar[str] = "cycle_gan"
    label: ClassVar[str] = "Cycle-GAN"
    config_type: ClassVar[type[MethodConfig]] = CycleGANConfig
    paper_rate: ClassVar[float | None] = 2e-4
    needs_proxy: ClassVar[bool] = True
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"from_proxy": {"score_from": "proxy"}}
    stages = (adversarial_stage(("judge_proxy", "judge_image"), ("to_proxy", "to_image")),)
    config: CycleGANConfig

    def __init__(self, config: CycleGANConfig) -> None:
        super().__init__(config)
        self.to_proxy = ResidualTranslator(config.channels, config.translator_widths, config.blocks)
        self.to_image = ResidualTranslator(config.channels, config.translator_widths, config.blocks)
        self.judge_proxy, self.judge_image = Judge(config), Judge(config)

    def _judge(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Least squares of both domains."""
        image, proxy = batch.image, batch.true_proxy()
        with torch.no_grad():
            fakes = self._translated(self.to_proxy, image, batch), self._translated(self.to_image, proxy, batch)
        return {
            "judge_proxy": self.judge_proxy.loss(proxy, fakes[0], generator),
            "judge_image": self.judge_image.loss(image, fakes[1], generator),
        }

    def _generate(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Least squares, cycles and identities (Eq. 3)."""
        del generator
        cycles = self._cycles(batch)
        named = {
            "adversarial_proxy": (self.judge_proxy(cycles.proxy) - 1).square().mean(),
            "adversarial_image": (self.judge_image(cycles.image) - 1).square().mean(),
        } | self._cycle_terms(batch, cycles)
        for name, network, target in (
            ("identity_proxy", self.to_proxy, batch.true_proxy()),
            ("identity_image", self.to_image, batch.image),
        ):
            same = self._translated(network, target, batch)
            named[name] = LAMBDA_IDENTITY * terms.masked_absolute(signed(same), signed(target), batch.valid)
        return named

    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Both cycles' L1; the adversarial terms are left out, as the discriminators change what they measure."""
        del stage
        return self._cycle_terms(batch, self._cycles(batch))

    def _score(self, batch: Batch) -> Scores:
        """Mean |x − x̂| over scored pixels, and the scores that all methods have; x̂ is made from the scores' proxy."""
        if self.config.score_from == "proxy":
            proxy = batch.true_proxy()
        else:
            proxy = self._translated(self.to_proxy, batch.image, batch)
        return replace(self.scores(batch, self._translated(self.to_image, proxy, batch)), proxy=proxy)

    def _cycles(self, batch: Batch) -> _Cycles:
        proxy = self._translated(self.to_proxy, batch.image, batch)
        image = self._translated(self.to_image, batch.true_proxy(), batch)
        return _Cycles(
            proxy, image, self._translated(self.to_image, proxy, batch), self._translated(self.to_proxy, image, batch)
        )

    def _cycle_terms(self, batch: Batch, cycles: _Cycles) -> dict[str, Tensor]:
        """Eq. 2, weighted."""
        image = terms.masked_absolute(signed(cycles.image_again), signed(batch.image), batch.valid)
        proxy = terms.masked_absolute(signed(cycles.proxy_again), signed(batch.true_proxy()), batch.valid)
        return {"cycle_image": LAMBDA_CYCLE * image, "cycle_proxy": LAMBDA_CYCLE * proxy}

    def _translated(self, network: ResidualTranslator, value: Tensor, batch: Batch) -> Tensor:
        """A translation of images in [0, 1], with the fill value where the batch holds no data."""
        return self.masked(unsigned(network(signed(value))), batch)
