"""MemAE: an auto-encoder whose decoder sees only sparse mixtures of learned normal items.

Gong et al., "Memorizing Normality to Detect Anomaly: Memory-augmented Deep Autoencoder", ICCV 2019.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from models import losses as terms
from models.card import ablation, left_open
from models.method import Batch, MethodConfig, Scores
from models.methods.reconstruction import ReconstructionConfig, ReconstructionMethod
from models.nets.encoder_decoder import MemoryEncoderDecoder
from models.nets.memory import Lookup, Memory
from models.nets.soft_memory import Recall, SoftMemory

SHRINK = 1.0
"""Threshold λ on the shares in units of 1/N (stated: 1 to 3; at 3 even shares would all be cut)."""
LAMBDA_ENTROPY = 2e-4
"""Weight α of the shares' entropy (Eq. 9; stated)."""
COMMITMENT = 0.25
"""Weight of the commitment term of the nearest-item memory; ProxyAno's."""


@dataclass(frozen=True, kw_only=True)
class MemAEConfig(ReconstructionConfig):
    """Configuration of `MemAE`."""

    memory_items: int = field(
        default=500, metadata=left_open("N; MemAE takes 100 to 2000 by data set, 500 for photos", least=1)
    )
    memory: str = field(
        default="soft",
        metadata=ablation(
            "'soft' is MemAE's; 'nearest' is ProxyAno's (its Table IV, EncDec + mem)", choices=("soft", "nearest")
        ),
    )


class MemAE(ReconstructionMethod):
    """Trained on ‖I − Î‖² + α·entropy of the shares (Eq. 9-11); its own score is the mean of (I − Î)²."""

    name: ClassVar[str] = "memae"
    label: ClassVar[str] = "MemAE"
    config_type: ClassVar[type[MethodConfig]] = MemAEConfig

    def __init__(self, config: MemAEConfig) -> None:
        super().__init__(config)

        def memory() -> Memory | SoftMemory:
            if config.memory == "nearest":
                return Memory(config.memory_items, config.latent_dim)
            return SoftMemory(config.memory_items, config.latent_dim, shrink=SHRINK)

        self.network = MemoryEncoderDecoder(
            config.channels, config.channels, config.widths, config.latent_dim, memory=memory
        )

    def _reconstruct(self, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        rebuilt, found = self.network(batch.image, batch.valid, generator)
        named = {"reconstruction": terms.masked_square(rebuilt, batch.image, batch.valid)}
        if isinstance(found, Recall):
            return named | {"entropy": LAMBDA_ENTROPY * found.entropy}
        assert isinstance(found, Lookup)
        return named | {"commitment": COMMITMENT * found.commitment}

    def _score(self, batch: Batch) -> Scores:
        """Mean (I − Î)² over scored pixels, and the scores that all methods have."""
        rebuilt = self.masked(self.network(batch.image, batch.valid)[0], batch)
        return self.scores(batch, rebuilt, terms.image_mean((batch.image - rebuilt).square(), batch.score_mask()))
