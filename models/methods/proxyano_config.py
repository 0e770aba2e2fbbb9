"""Every choice of ProxyAno that can be changed; `stated` values are the paper's, `left_open` ones are ours.

Stage 1 does not depend on the fields marked `stage=2`.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

from models.method import MethodConfig, Widths, ablation, left_open, stated
from models.methods.makers import MakerConfig


@dataclass(frozen=True, kw_only=True)
class ProxyAnoConfig(MethodConfig):
    """Configuration of `ProxyAno`."""

    widths: Widths = left_open(
        (64, 128, 256, 512),
        "Fig. 5 is lost; widths of the authors' other code, one size-halving between two widths",
        least=1,
    )
    latent_dim: int = stated(64, "d of the memory, channels of the latent", least=1)
    memory: str = ablation(
        "nearest", "'nearest' is the paper's; 'none': the decoder sees the latent itself", choices=("nearest", "none")
    )
    memory_items: int = stated(128, "k; Fig. 11 is best there", least=1)
    memory_decay: float = stated(0.99, "γ of Eq. 6, [0, 1)", least=0)
    memory_revive_below: float = left_open(
        0.3,
        "an item with less than this share of the mean count is redrawn from the batch; 0 = never. "
        "Without it 16 of 128 items were in use in a trial",
        least=0,
    )
    commitment: float = left_open(0.25, "β of VQ-VAE; 0 = off", least=0)
    proxy_channels: int = ablation(
        0, "channels of the proxy where they differ from the image's; 0 = as the image", least=0
    )
    reconstruction_skips: bool = left_open(False, "'the same encoder and decoder in both modules' says none", stage=2)
    reconstruction_widths: Widths = left_open(
        (), "widths of stage 2 where they differ; empty: those of stage 1, as in the paper", stage=2
    )
    adversarial: bool = stated(True, "discriminator in Eq. 8-10; off saves half the time", stage=2)
    lambda_global: float = stated(0.25, "λ_global of Eq. 11, ≥ 0", least=0, stage=2)
    lambda_local: float = stated(0.5, "λ_local of Eq. 11, ≥ 0", least=0, stage=2)
    generator_loss: str = stated(
        "minimax",
        "'minimax' is Eq. 8's E[log(1 − D)]; 'non_saturating' is −E[log D]",
        choices=("minimax", "non_saturating"),
        stage=2,
    )
    discriminator_widths: Widths = left_open(
        (64, 128, 256, 512),
        "spectral-norm 4×4 convolutions, then one to a logit map: the authors' other code",
        least=1,
        stage=2,
    )
    patch_on: str = left_open(
        "true",
        "the 'normal proxy' pasted on: the 'true' SLIC proxy; 'image' = pasted on the image, whose predicted proxy "
        "is P', as when a real lesion is scored",
        choices=("true", "image"),
        stage=2,
    )
    patch_count: tuple[int, int] = left_open((1, 3), "patches per image, from and to", least=1, stage=2)
    makers: tuple[str, ...] = left_open(
        (),
        "empty = the paper's patches; else each of patch_count lesions draws one of these makers: an extension",
        stage=2,
    )
    maker_radius: tuple[float, float] = left_open(
        (0.03, 0.25), "half-axes of the makers' lesions, shares of the shorter side", stage=2
    )
    maker_strength: tuple[float, float] = left_open((0.05, 0.5), "largest change of a pixel in [0, 1]", stage=2)
    local_mean_over: str = left_open(
        "image",
        "Eq. 10 as a mean over the 'image' keeps the paper's proportion to Eq. 8-9; over the 'patch' weighs it more",
        choices=("image", "patch"),
        stage=2,
    )
    contrast: float = left_open(
        1.0,
        "gain about mid-gray of what the networks see, > 0, clipped to [0, 1]; 4 for flat-field fundus: its "
        "standard deviation is .05, and without it the memory collapses. Scores are in the image's own units",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.memory_decay < 1:
            raise ValueError(f"ProxyAnoConfig.memory_decay is γ in [0, 1), got {self.memory_decay}")
        if self.patch_count[0] > self.patch_count[1]:
            raise ValueError(f"ProxyAnoConfig.patch_count is a range (from ≥ 1, to), got {self.patch_count}")
        if not self.contrast > 0:
            raise ValueError(f"ProxyAnoConfig.contrast is a gain above 0, got {self.contrast}")
        if self.makers and self.of_proxy != self.channels:
            got = f"{self.of_proxy} and {self.channels}"
            raise ValueError(f"ProxyAnoConfig.makers need a proxy with the image's channels, got {got}: use patches")
        if self.makers:
            self.lesions()

    @property
    def of_proxy(self) -> int:
        """Channels K of the proxy."""
        return self.proxy_channels or self.channels

    @property
    def repairs(self) -> bool:
        """Whether stage 2 also learns from pseudo-abnormal proxies."""
        return self.lambda_global > 0 or self.lambda_local > 0

    def of_first_stage(self) -> Self:
        """The configuration with the fields of stage 2 at their defaults, and without a discriminator."""
        defaults: dict[str, Any] = {f.name: f.default for f in fields(self) if f.metadata.get("stage") == 2}
        return replace(self, **{**defaults, "adversarial": False})

    def lesions(self) -> MakerConfig:
        """Parameters of the lesions that the makers draw."""
        return MakerConfig(
            makers=self.makers, radius=self.maker_radius, strength=self.maker_strength, count=self.patch_count
        )
