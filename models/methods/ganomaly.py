"""GANomaly: encoder-decoder-encoder against a discriminator; anomalous is what changes its latent vector when rebuilt.

Akcay et al., "GANomaly: Semi-Supervised Anomaly Detection via Adversarial Training", ACCV 2018. The networks work in
[−1, 1] as in the paper; images are scaled on the way in and out.
"""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from models import losses as terms
from models.card import left_open, stated
from models.method import Batch, MethodConfig, Phase, Scores, Stage
from models.methods.reconstruction import ResidualConfig, ResidualMethod
from models.methods.signed import signed, unsigned
from models.nets.batch_statistics import batch_statistics
from models.nets.vector_pyramid import VectorDecoder, VectorEncoder, pyramid_widths

_BETAS = (0.5, 0.999)  # of Adam, both phases: the paper's


@dataclass(frozen=True, kw_only=True)
class GANomalyConfig(ResidualConfig):
    """Configuration of `GANomaly`."""

    size: tuple[int, int] = field(
        default=(256, 256), metadata=left_open("rows and columns of the images: one vector describes them whole")
    )
    width: int = field(default=64, metadata=stated("channels after the first halving, doubled with each further one"))
    widest: int = field(default=512, metadata=left_open("most channels; the paper's 32 px need no cap"))
    latent_dim: int = field(default=100, metadata=stated("values of the latent vector z"))
    lambda_adversarial: float = field(default=1.0, metadata=stated("weight of the feature matching (Eq. 1), ≥ 0"))
    lambda_contextual: float = field(default=50.0, metadata=stated("weight of |x − x̂| in [−1, 1] (Eq. 2), ≥ 0"))
    lambda_latent: float = field(default=1.0, metadata=stated("weight of (z − ẑ)² (Eq. 3), ≥ 0"))

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        for name in ("width", "widest", "latent_dim"):
            self._at_least(name, 1)
        for name in ("lambda_adversarial", "lambda_contextual", "lambda_latent"):
            self._at_least(name, 0)
        pyramid_widths(self.size, self.width, self.widest)


class _Pass(NamedTuple):
    """One way through the generator: z, x̂ in [0, 1] (filled where there is no data), ẑ."""

    latent: Tensor
    rebuilt: Tensor
    again: Tensor


class Generator(nn.Module):
    """G_E, G_D and the second encoder E, which has weights of its own."""

    def __init__(self, config: GANomalyConfig) -> None:
        super().__init__()
        self.encoder = _encoder(config, config.latent_dim)
        self.decoder = VectorDecoder(config.channels, config.size, config.width, config.widest, config.latent_dim)
        self.second = _encoder(config, config.latent_dim)


class GANomaly(ResidualMethod):
    """Loss 1·feature matching + 50·L1 + 1·latent MSE (Eq. 4); its own score is the mean of (z − ẑ)², unscaled."""

    name: ClassVar[str] = "ganomaly"
    config_type: ClassVar[type[MethodConfig]] = GANomalyConfig
    config: GANomalyConfig

    def __init__(self, config: GANomalyConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config)
        self.discriminator = _encoder(config, 1)
        judge = Phase(name="judge", modules=("discriminator",), betas=_BETAS)
        reconstruct = Phase(name="reconstruct", modules=("generator",), betas=_BETAS)
        self.stages = (Stage(name="stage1", phases=(judge, reconstruct)),)

    def losses(self, stage: str, phase: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Eq. 4 (reconstruct); cross-entropy of real and rebuilt images (judge)."""
        del generator
        batch = self.filled(batch)
        match stage, phase:
            case "stage1", "judge":
                with torch.no_grad(), batch_statistics(self.generator):
                    fake = self._pass(batch).rebuilt
                logits = self.discriminator(signed(batch.image)), self.discriminator(signed(fake))
                return {"judge": terms.discriminator_adversarial(*logits)}
            case "stage1", "reconstruct":
                found = self._pass(batch)
                return {"adversarial": self._matching(batch, found)} | self._terms(batch, found)
        raise ValueError(f"ganomaly has no phase {phase!r} in stage {stage!r}")

    def validation(self, stage: str, batch: Batch) -> dict[str, Tensor]:
        """Eq. 2 and Eq. 3; the feature matching is left out, as the discriminator changes what it measures."""
        del stage
        batch = self.filled(batch)
        return self._terms(batch, self._pass(batch))

    def _score(self, batch: Batch) -> Scores:
        """Mean (z − ẑ)² (Eq. 5; not scaled by the test set's range), and the scores for all."""
        batch = self.filled(batch)
        found = self._pass(batch)
        own = (found.latent.float() - found.again.float()).square().flatten(1).mean(dim=1)
        return self.scores(batch, found.rebuilt, own)

    def _pass(self, batch: Batch) -> _Pass:
        latent = self.generator.encoder(signed(batch.image))
        raw = self.generator.decoder(latent).float()
        rebuilt = self.masked(unsigned(raw.tanh()), batch)
        return _Pass(latent, rebuilt, self.generator.second(signed(rebuilt)))

    def _terms(self, batch: Batch, found: _Pass) -> dict[str, Tensor]:
        error = terms.masked_absolute(signed(found.rebuilt), signed(batch.image), batch.valid)
        change = (found.latent.float() - found.again.float()).square().mean()
        return {"contextual": self.config.lambda_contextual * error, "latent": self.config.lambda_latent * change}

    def _matching(self, batch: Batch, found: _Pass) -> Tensor:
        """Mean squared difference of the discriminator's last features of real and rebuilt images."""
        with batch_statistics(self.discriminator):
            real = self.discriminator.features(signed(batch.image))
            fake = self.discriminator.features(signed(found.rebuilt))
        return self.config.lambda_adversarial * (real.float() - fake.float()).square().mean()


def _encoder(config: GANomalyConfig, dim: int) -> VectorEncoder:
    return VectorEncoder(config.channels, config.size, config.width, config.widest, dim)
