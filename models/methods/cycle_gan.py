"""Cycle-GAN between images and proxies; anomalous is what the way image → proxy → image does not bring back.

Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV 2017; equation
numbers are the paper's. The networks work in [−1, 1]. A cycle can smuggle lesions through its proxies, so the image
made from the true proxy is there too (`score_from`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from models import losses as terms
from models.card import left_open, stated
from models.method import Batch, MethodConfig, Phase, Scores, Stage
from models.methods.reconstruction import ResidualConfig, ResidualMethod
from models.methods.signed import signed, unsigned
from models.nets.image_pool import ImagePool
from models.nets.patchgan import PatchGAN
from models.nets.residual_translator import ResidualTranslator

_BETAS = (0.5, 0.999)  # of Adam, both phases: the paper's


@dataclass(frozen=True, kw_only=True)
class CycleGANConfig(ResidualConfig):
    """Configuration of `CycleGAN`."""

    size: tuple[int, int] = field(
        default=(256, 256), metadata=stated("rows and columns of the images; only the pools need it, 0 images none")
    )
    widths: tuple[int, ...] = field(
        default=(64, 128, 256), metadata=stated("generators: one size-halving between two widths")
    )
    blocks: int = field(default=9, metadata=stated("residual blocks of a generator; the paper takes 6 below 256 px"))
    discriminator_widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512), metadata=stated("PatchGANs that see 70×70 px")
    )
    lambda_cycle: float = field(default=10.0, metadata=stated("λ of Eq. 3, both ways, on |·| in [−1, 1], ≥ 0"))
    identity_share: float = field(
        default=0.5, metadata=stated("identity loss (Section 5.2), as a share of λ_cycle, ≥ 0; 0 = off")
    )
    pool: int = field(default=50, metadata=stated("earlier fakes that a judge may see again; 0 = off"))
    score_from: str = field(
        default="image",
        metadata=left_open("Î is made from the 'image' by both generators, or by the second from its true 'proxy'"),
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        for name in ("blocks", "lambda_cycle", "identity_share", "pool"):
            self._at_least(name, 0)
        for name in ("size", "widths", "discriminator_widths"):
            if min(getattr(self, name), default=0) < 1:
                raise ValueError(f"CycleGANConfig.{name} are at least 1, got {getattr(self, name)}")
        if self.score_from not in ("image", "proxy"):
            raise ValueError(f"CycleGANConfig.score_from is one of image, proxy, got {self.score_from!r}")


class Judge(nn.Module):
    """The discriminator of one domain and its pool of earlier fakes."""

    def __init__(self, config: CycleGANConfig) -> None:
        super().__init__()
        self.discriminator = PatchGAN(config.channels, config.discriminator_widths, norm="instance")
        self.pool = ImagePool(config.pool, config.channels, config.size)

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
    config_type: ClassVar[type[MethodConfig]] = CycleGANConfig
    needs_proxy: ClassVar[bool] = True
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"from_proxy": {"score_from": "proxy"}}
    config: CycleGANConfig

    def __init__(self, config: CycleGANConfig) -> None:
        super().__init__()
        self.config = config
        self.to_proxy = ResidualTranslator(config.channels, config.widths, config.blocks)
        self.to_image = ResidualTranslator(config.channels, config.widths, config.blocks)
        self.judge_proxy, self.judge_image = Judge(config), Judge(config)
        judge = Phase(name="judge", modules=("judge_proxy", "judge_image"), betas=_BETAS)
        generate = Phase(name="generate", modules=("to_proxy", "to_image"), betas=_BETAS)
        self.stages = (Stage(name="stage1", phases=(judge, generate)),)

    def losses(self, stage: str, phase: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Least squares, cycles and identities for the generators (Eq. 3); least squares for the judges."""
        batch = self._paired(batch)
        match stage, phase:
            case "stage1", "judge":
                image, proxy = batch.image, batch.true_proxy()
                with torch.no_grad():
                    fakes = self._translated(self.to_proxy, image, batch), self._translated(self.to_image, proxy, batch)
                return {
                    "judge_proxy": self.judge_proxy.loss(proxy, fakes[0], generator),
                    "judge_image": self.judge_image.loss(image, fakes[1], generator),
                }
            case "stage1", "generate":
                return self._generate(batch)
        raise ValueError(f"cycle_gan has no phase {phase!r} in stage {stage!r}")

    def validation(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Both cycles' L1; the adversarial terms are left out, as the judges change what they measure."""
        del stage
        batch = self._paired(batch)
        return self._cycle_terms(batch, self._cycles(batch))

    def _score(self, batch: Batch) -> Scores:
        """Mean |x − x̂| over scored pixels, and the scores for all; the proxy is the one x̂ is made from."""
        if self.config.score_from == "proxy":
            batch = self._paired(batch)
            proxy = batch.true_proxy()
        else:
            batch = self.filled(batch)
            proxy = self._translated(self.to_proxy, batch.image, batch)
        rebuilt = self._translated(self.to_image, proxy, batch)
        own = terms.image_mean((batch.image - rebuilt).abs(), batch.score_mask())
        return replace(self.scores(batch, rebuilt, own), proxy=proxy)

    def _paired(self, batch: Batch) -> Batch:
        """The filled batch with its filled proxies."""
        return replace(self.filled(batch), proxy=self.masked(batch.true_proxy(), batch))

    def _generate(self, batch: Batch) -> dict[str, Tensor]:
        config, cycles = self.config, self._cycles(batch)
        named = {
            "adversarial_proxy": (self.judge_proxy(cycles.proxy) - 1).square().mean(),
            "adversarial_image": (self.judge_image(cycles.image) - 1).square().mean(),
        } | self._cycle_terms(batch, cycles)
        if config.identity_share == 0:
            return named
        weight = config.identity_share * config.lambda_cycle
        for name, network, target in (
            ("identity_proxy", self.to_proxy, batch.true_proxy()),
            ("identity_image", self.to_image, batch.image),
        ):
            same = self._translated(network, target, batch)
            named[name] = weight * terms.masked_absolute(signed(same), signed(target), batch.valid)
        return named

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
        return {"cycle_image": self.config.lambda_cycle * image, "cycle_proxy": self.config.lambda_cycle * proxy}

    def _translated(self, network: ResidualTranslator, value: Tensor, batch: Batch) -> Tensor:
        """A translation of images in [0, 1], filled where the batch holds no data."""
        return self.masked(unsigned(network(signed(value))), batch)
