"""Auto-Encoder: ProxyAno's own encoder and decoder rebuild the image (the paper's baseline condition)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models import losses as terms
from models.method import Batch, MethodConfig, Scores
from models.methods.reconstruction import ReconstructionConfig, ReconstructionMethod
from models.nets.encoder_decoder import EncoderDecoder


@dataclass(frozen=True, kw_only=True)
class AutoEncoderConfig(ReconstructionConfig):
    """Configuration of `AutoEncoder`."""


class AutoEncoder(ReconstructionMethod):
    """Dec(Enc(I)), trained on ‖I − Î‖²; its own score is the mean of |I − Î|."""

    name: ClassVar[str] = "auto_encoder"
    config_type: ClassVar[type[MethodConfig]] = AutoEncoderConfig
    config: AutoEncoderConfig

    def __init__(self, config: AutoEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.network = EncoderDecoder(
            config.channels, config.widths, config.latent_dim, skips=False, sigmoid=config.head == "sigmoid"
        )

    def _losses(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        return {"reconstruction": terms.masked_square(self.network(batch.image), batch.image, batch.valid)}

    def _score(self, batch: Batch) -> Scores:
        """Mean |I − Î| over scored pixels, and the scores for all."""
        batch = self.filled(batch)
        rebuilt = self.masked(self.network(batch.image), batch)
        return self.scores(batch, rebuilt, terms.image_mean((batch.image - rebuilt).abs(), batch.score_mask()))
