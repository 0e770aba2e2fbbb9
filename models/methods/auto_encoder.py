"""Auto-Encoder: ProxyAno's own encoder and decoder rebuild the image (the paper's baseline condition)."""

from typing import ClassVar

import torch
from torch import Tensor

from models import losses as terms
from models.method import Batch, MethodConfig, Scores
from models.methods.reconstruction import ReconstructionConfig, ReconstructionMethod
from models.nets.encoder_decoder import EncoderDecoder


class AutoEncoder(ReconstructionMethod):
    """Dec(Enc(I)), trained on ‖I − Î‖²; its own score is the mean of |I − Î|."""

    name: ClassVar[str] = "auto_encoder"
    label: ClassVar[str] = "Auto-Encoder"
    config_type: ClassVar[type[MethodConfig]] = ReconstructionConfig

    def __init__(self, config: ReconstructionConfig) -> None:
        super().__init__(config)
        self.network = EncoderDecoder(config.channels, config.channels, config.widths, config.latent_dim)

    def _reconstruct(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        del generator
        return {"reconstruction": terms.masked_square(self.network(batch.image), batch.image, batch.valid)}

    def _score(self, batch: Batch) -> Scores:
        return self.scores(batch, self.masked(self.network(batch.image), batch))
