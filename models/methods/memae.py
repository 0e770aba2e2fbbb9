"""MemAE: an auto-encoder whose decoder sees only sparse mixtures of learned normal items.

Gong et al., "Memorizing Normality to Detect Anomaly: Memory-augmented Deep Autoencoder", ICCV 2019.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from models import losses as terms
from models.card import left_open, stated
from models.method import Batch, MethodConfig, Scores
from models.methods.reconstruction import ReconstructionConfig, ReconstructionMethod, coarse
from models.nets.decoder import Decoder
from models.nets.encoder import Encoder
from models.nets.soft_memory import Recall, SoftMemory


@dataclass(frozen=True, kw_only=True)
class MemAEConfig(ReconstructionConfig):
    """Configuration of `MemAE`."""

    memory_items: int = field(default=500, metadata=left_open("N; MemAE takes 100 to 2000 by data set, 500 for photos"))
    shrink: float = field(
        default=1.0,
        metadata=stated("threshold λ on the shares in units of 1/N, 1 to 3; at 3 even shares would all fall away"),
    )
    lambda_entropy: float = field(default=2e-4, metadata=stated("weight α of the shares' entropy (Eq. 9), ≥ 0"))

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        self._at_least("memory_items", 1)
        self._at_least("shrink", 0)
        self._at_least("lambda_entropy", 0)


class MemoryNetwork(nn.Module):
    """Dec(memory(Enc(I)))."""

    def __init__(self, config: MemAEConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config.channels, config.widths, config.latent_dim)
        self.memory = SoftMemory(config.memory_items, config.latent_dim, shrink=config.shrink)
        self.decoder = Decoder(
            config.channels, config.widths, config.latent_dim, skips=False, sigmoid=config.head == "sigmoid"
        )

    def forward(self, image: Tensor, valid: Tensor) -> tuple[Tensor, Recall]:
        """Rebuilt image and what the memory did."""
        found = self.memory(self.encoder(image), coarse(valid, self.encoder.factor).ge(0.5).float())
        return self.decoder(found.latent), found


class MemAE(ReconstructionMethod):
    """Trained on ‖I − Î‖² + α·entropy of the shares (Eq. 9-11); its own score is the mean of (I − Î)²."""

    name: ClassVar[str] = "memae"
    config_type: ClassVar[type[MethodConfig]] = MemAEConfig
    config: MemAEConfig

    def __init__(self, config: MemAEConfig) -> None:
        super().__init__()
        self.config = config
        self.network = MemoryNetwork(config)

    def _losses(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        rebuilt, found = self.network(batch.image, batch.valid)
        return {
            "reconstruction": terms.masked_square(rebuilt, batch.image, batch.valid),
            "entropy": self.config.lambda_entropy * found.entropy,
        }

    def _score(self, batch: Batch) -> Scores:
        """Mean (I − Î)² over scored pixels, and the scores for all."""
        batch = self.filled(batch)
        rebuilt = self.masked(self.network(batch.image, batch.valid)[0], batch)
        return self.scores(batch, rebuilt, terms.image_mean((batch.image - rebuilt).square(), batch.score_mask()))
