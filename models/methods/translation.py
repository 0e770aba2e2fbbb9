"""Image translation: pix2pix from the true proxy to the image, Cycle-GAN from the image to a proxy and back.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017; Zhu et al., "Unpaired
Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV 2017; equation numbers are those of each
method's paper. The networks work in [−1, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.method import Batch, MethodConfig, Scores, Widths, left_open, stated
from models.methods.reconstruction import AdversarialMethod, ResidualMethod, adversarial_stage, signed, unsigned
from models.nets.pyramids import Size
from models.nets.translation import ImagePool, PatchGAN, ResidualTranslator, UNet

LAMBDA_L1 = 100.0
"""pix2pix: λ of Eq. 4 (stated), weight of |x − x̂| in [−1, 1]."""
LAMBDA_CYCLE = 10.0  # Cycle-GAN: λ of Eq. 3 (stated), both ways, on |·| in [−1, 1]
LAMBDA_IDENTITY = 0.5 * LAMBDA_CYCLE  # Cycle-GAN: weight of the identity loss (Section 5.2; stated)
POOL = 50  # Cycle-GAN: earlier fakes that a discriminator may see again (stated)


@dataclass(frozen=True, kw_only=True)
class Pix2PixConfig(MethodConfig):
    """Configuration of `Pix2Pix`; its discriminator's batch norm is, at the paper's batch of 1, instance norm."""

    widths: Widths = stated(
        (64, 128, 256, 512, 512, 512, 512, 512),
        "U-Net for 256 px, one size-halving per width; smaller images need fewer",
        least=1,
    )
    discriminator_widths: Widths = stated((64, 128, 256, 512), "PatchGAN that sees 70×70 px", least=1)


class Pix2Pix(AdversarialMethod):
    """G(proxy(x)) against a discriminator of pairs (proxy, image): anomalous is what cannot be told from the proxy.

    Its own score is the mean of |x − G(proxy(x))|.
    """

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
        named = {"adversarial": self._fooled(batch, fake)}
        return named | {"reconstruction": LAMBDA_L1 * self._error(fake, batch.image, batch)}

    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """L1 from the true proxy, without dropout."""
        return {"reconstruction": LAMBDA_L1 * self._error(self._fake(batch, None), batch.image, batch)}

    def _score(self, batch: Batch) -> Scores:
        return replace(self.scores(batch, self._fake(batch, None)), proxy=batch.true_proxy())

    def _fake(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """The generated images; dropout comes from the generator of random numbers, and is off without one."""
        return self.masked(unsigned(self.generator(signed(batch.true_proxy()), generator)), batch)

    def _seen(self, batch: Batch, image: Tensor) -> Tensor:
        return torch.cat((signed(batch.true_proxy()), signed(image)), dim=1)


@dataclass(frozen=True, kw_only=True)
class CycleGANConfig(MethodConfig):
    """Configuration of `CycleGAN`."""

    size: Size = stated((256, 256), "rows and columns of the images, for the pools; training sets it", least=1)
    translator_widths: Widths = stated((64, 128, 256), "generators: one size-halving between two widths", least=1)
    blocks: int = stated(9, "residual blocks of a generator; the paper takes 6 below 256 px", least=0)
    discriminator_widths: Widths = stated((64, 128, 256, 512), "PatchGANs that see 70×70 px", least=1)
    score_from: str = left_open(
        "image",
        "Î is made from the 'image' by both generators, or by the second from its true 'proxy'",
        choices=("image", "proxy"),
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
        return torch.add((self(real) - 1).square().mean(), seen.square().mean()) / 2


class CycleGAN(ResidualMethod):
    """A: image → proxy, B: proxy → image; its own score is the mean of |x − B(A(x))|, or of |x − B(p)|.

    A cycle can smuggle lesions through its proxies, so images made from the true proxy can be scored (`score_from`).
    """

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
        of_proxy = self.judge_proxy.loss(proxy, fakes[0], generator)
        return {"judge_proxy": of_proxy, "judge_image": self.judge_image.loss(image, fakes[1], generator)}

    def _generate(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Least squares, cycles and identities (Eq. 3)."""
        proxy, image, cycles = self._cycles(batch)
        named = {
            "adversarial_proxy": (self.judge_proxy(proxy) - 1).square().mean(),
            "adversarial_image": (self.judge_image(image) - 1).square().mean(),
        }
        same_proxy = self._translated(self.to_proxy, batch.true_proxy(), batch)
        same_image = self._translated(self.to_image, batch.image, batch)
        return (
            named
            | cycles
            | {
                "identity_proxy": LAMBDA_IDENTITY * self._error(same_proxy, batch.true_proxy(), batch),
                "identity_image": LAMBDA_IDENTITY * self._error(same_image, batch.image, batch),
            }
        )

    def _validate(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Both cycles' L1; the adversarial terms are left out, as the discriminators change what they measure."""
        return self._cycles(batch)[2]

    def _score(self, batch: Batch) -> Scores:
        """Mean |x − x̂| over scored pixels, and the scores that all methods have; x̂ is made from the scores' proxy."""
        straight = self.config.score_from == "proxy"
        proxy = batch.true_proxy() if straight else self._translated(self.to_proxy, batch.image, batch)
        return replace(self.scores(batch, self._translated(self.to_image, proxy, batch)), proxy=proxy)

    def _cycles(self, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """A(x), B(p), and Eq. 2, weighted."""
        proxy = self._translated(self.to_proxy, batch.image, batch)
        image = self._translated(self.to_image, batch.true_proxy(), batch)
        again = self._translated(self.to_image, proxy, batch)
        proxy_again = self._translated(self.to_proxy, image, batch)
        cycles = {
            "cycle_image": LAMBDA_CYCLE * self._error(again, batch.image, batch),
            "cycle_proxy": LAMBDA_CYCLE * self._error(proxy_again, batch.true_proxy(), batch),
        }
        return proxy, image, cycles

    def _translated(self, network: ResidualTranslator, value: Tensor, batch: Batch) -> Tensor:
        """A translation of images in [0, 1], with the fill value where the batch holds no data."""
        return self.masked(unsigned(network(signed(value))), batch)
