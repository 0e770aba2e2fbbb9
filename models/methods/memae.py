"""MemAE: an auto-encoder whose decoder sees only sparse mixtures of learned normal items.

Gong et al., "Memorizing Normality to Detect Anomaly: Memory-augmented Deep Autoencoder", ICCV 2019.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from models import losses as terms
from models.card import ablation, left_open, stated
from models.method import Batch, MethodConfig, Scores
from models.methods.reconstruction import ReconstructionConfig, ReconstructionMethod, coarse
from models.nets.decoder import Decoder
from models.nets.encoder import Encoder
from models.nets.memory import Lookup, Memory
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
    memory: str = field(
        default="soft", metadata=ablation("'soft' is MemAE's; 'nearest' is ProxyAno's (its Table IV, EncDec + mem)")
    )
    memory_decay: float = field(default=0.99, metadata=ablation("of the nearest memory, as ProxyAno's"))
    memory_revive_below: float = field(default=0.1, metadata=ablation("of the nearest memory, as ProxyAno's"))
    commitment: float = field(default=0.25, metadata=ablation("of the nearest memory, as ProxyAno's"))

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if self.memory not in ("soft", "nearest"):
            raise ValueError(f"MemAEConfig.memory is one of soft, nearest, got {self.memory!r}")
        for name in ("memory_decay", "memory_revive_below", "commitment"):
            self._at_least(name, 0)
        self._at_least("memory_items", 1)
        self._at_least("shrink", 0)
        self._at_least("lambda_entropy", 0)


class MemoryNetwork(nn.Module):
    """Dec(memory(Enc(I)))."""

    def __init__(self, config: MemAEConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config.channels, config.widths, config.latent_dim)
        self.memory = _memory(config)
        self.decoder = Decoder(
            config.channels, config.widths, config.latent_dim, skips=False, sigmoid=config.head == "sigmoid"
        )

    def forward(
        self, image: Tensor, valid: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Recall | Lookup]:
        """Rebuilt image and what the memory did; a nearest memory needs the generator while it learns."""
        inside, latent = coarse(valid, self.encoder.factor).ge(0.5).float(), self.encoder(image)
        if isinstance(self.memory, Memory):
            looked_up = self.memory(latent, generator=generator, valid=inside)
            return self.decoder(looked_up.latent), looked_up
        recalled = self.memory(latent, inside)
        return self.decoder(recalled.latent), recalled


def _memory(config: MemAEConfig) -> SoftMemory | Memory:
    if config.memory == "soft":
        return SoftMemory(config.memory_items, config.latent_dim, shrink=config.shrink)
    decay, revive = config.memory_decay, config.memory_revive_below
    return Memory(config.memory_items, config.latent_dim, decay=decay, revive_below=revive)


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
        rebuilt, found = self.network(batch.image, batch.valid, generator)
        named = {"reconstruction": terms.masked_square(rebuilt, batch.image, batch.valid)}
        if isinstance(found, Lookup):
            return named | {"commitment": self.config.commitment * found.commitment}
        return named | {"entropy": self.config.lambda_entropy * found.entropy}

    def _score(self, batch: Batch) -> Scores:
        """Mean (I − Î)² over scored pixels, and the scores for all."""
        batch = self.filled(batch)
        rebuilt = self.masked(self.network(batch.image, batch.valid)[0], batch)
        return self.scores(batch, rebuilt, terms.image_mean((batch.image - rebuilt).square(), batch.score_mask()))
