"""Every choice of ProxyAno; `stated` is the paper's, `left_open` is ours, with the reason (shown by `models.card`)."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from models.card import ablation, left_open, stated
from models.method import MethodConfig
from models.methods.makers import MakerConfig


@dataclass(frozen=True, kw_only=True)
class ProxyAnoConfig(MethodConfig):
    """Configuration of `ProxyAno`."""

    channels: int = field(
        default=1, metadata=left_open("1 = gray (green for fundus), the authors' habit elsewhere; 3 = RGB")
    )
    widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512),
        metadata=left_open("Fig. 5 is lost; widths of the authors' other code, one size-halving between two widths"),
    )
    latent_dim: int = field(default=64, metadata=stated("d of the memory, channels of the latent"))
    head: str = field(default="linear", metadata=left_open("'linear' or 'sigmoid' after the last 1×1 convolution"))
    memory_items: int = field(default=128, metadata=stated("k; Fig. 11 is best there"))
    memory_decay: float = field(default=0.99, metadata=stated("γ of Eq. 6, [0, 1)"))
    memory_revive_below: float = field(
        default=0.1,
        metadata=left_open(
            "an item with less than this share of the mean count is redrawn from the batch; 0 = never. "
            "Without it 16 of 128 items were in use in a trial"
        ),
    )
    commitment: float = field(default=0.25, metadata=left_open("β of VQ-VAE; 0 = off"))
    reconstruction_skips: bool = field(
        default=False, metadata=left_open("'the same encoder and decoder in both modules' says none")
    )
    reconstruction_widths: tuple[int, ...] = field(
        default=(),
        metadata=left_open("widths of stage 2 where they differ; empty: those of stage 1, as the paper has it"),
    )
    adversarial: bool = field(default=True, metadata=stated("discriminator in Eq. 8-10; off saves half the time"))
    lambda_adversarial: float = field(default=0.01, metadata=stated("λ_g of Eq. 8-10, ≥ 0"))
    lambda_global: float = field(default=0.25, metadata=stated("λ_global of Eq. 11, ≥ 0"))
    lambda_local: float = field(default=0.5, metadata=stated("λ_local of Eq. 11, ≥ 0"))
    generator_loss: str = field(
        default="minimax", metadata=stated("'minimax' is Eq. 8's E[log(1 − D)]; 'non_saturating' is −E[log D]")
    )
    discriminator_widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512),
        metadata=left_open("spectral-norm 4×4 convolutions, then one to a logit map: the authors' other code"),
    )
    patch_source: str = field(
        default="other", metadata=left_open("'other' image of the batch ('randomly chosen normal image'), or 'same'")
    )
    patch_on: str = field(
        default="true",
        metadata=left_open(
            "the 'normal proxy' pasted on: 'true' SLIC proxy, or the 'predicted' one; 'image' = pasted on the image, "
            "whose predicted proxy is P', as it will be when a real lesion is scored"
        ),
    )
    patch_count: tuple[int, int] = field(default=(1, 3), metadata=left_open("patches an image, from and to"))
    patch_side: tuple[float, float] = field(
        default=(0.0625, 0.25),
        metadata=left_open("'random size': height and width as shares of the image's side; 16 to 64 px at 256"),
    )
    makers: tuple[str, ...] = field(
        default=(),
        metadata=left_open(
            "none = the paper's patches; else each of patch_count lesions draws one of these makers: an extension"
        ),
    )
    maker_radius: tuple[float, float] = field(
        default=(0.03, 0.25), metadata=left_open("half-axes of the makers' lesions, shares of the shorter side")
    )
    maker_strength: tuple[float, float] = field(
        default=(0.05, 0.5), metadata=left_open("largest change of a pixel in [0, 1]")
    )
    local_mean_over: str = field(
        default="image",
        metadata=left_open(
            "Eq. 10 as a mean over the 'image' keeps the paper's proportion to Eq. 8-9; over the 'patch' weighs it more"
        ),
    )
    invalid_fill: float = field(
        default=0.0,
        metadata=left_open("value of pixels without data, [0, 1]; they enter no loss and no score directly"),
    )
    contrast: float = field(
        default=1.0,
        metadata=left_open(
            "gain about mid-gray of what the networks see, > 0, clipped to [0, 1]; 4 for flat-field fundus: its "
            "standard deviation is .05, and without it the memory collapses. Scores are in the image's own units"
        ),
    )
    area_corrected: bool = field(
        default=True,
        metadata=left_open(
            "norms of Eq. 13 divided by the root of the scored share; no effect where every pixel is scored"
        ),
    )

    memory: str = field(
        default="nearest", metadata=ablation("'nearest' is the paper's; 'none': the decoder sees the latent itself")
    )
    proxy_channels: int = field(
        default=0, metadata=ablation("channels of the proxy where they are not the image's; 0 = as the image")
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        _at_least("widths", min(self.widths, default=0), 1)
        _at_least("discriminator_widths", min(self.discriminator_widths, default=0), 1)
        for name in ("channels", "latent_dim", "memory_items"):
            _at_least(name, getattr(self, name), 1)
        _at_least("proxy_channels", self.proxy_channels, 0)
        for name in ("commitment", "lambda_adversarial", "lambda_global", "lambda_local", "memory_revive_below"):
            _at_least(name, getattr(self, name), 0)
        if not 0 <= self.memory_decay < 1:
            raise ValueError(f"ProxyAnoConfig.memory_decay is γ in [0, 1), got {self.memory_decay}")
        if not 1 <= self.patch_count[0] <= self.patch_count[1]:
            raise ValueError(f"ProxyAnoConfig.patch_count is a range (from ≥ 1, to), got {self.patch_count}")
        if not 0 < self.patch_side[0] <= self.patch_side[1] <= 1:
            raise ValueError(f"ProxyAnoConfig.patch_side is a range of shares in (0, 1], got {self.patch_side}")
        if not self.contrast > 0:
            raise ValueError(f"ProxyAnoConfig.contrast is a gain above 0, got {self.contrast}")
        if not 0 <= self.invalid_fill <= 1:
            raise ValueError(f"ProxyAnoConfig.invalid_fill is a value in [0, 1], got {self.invalid_fill}")
        if self.makers and self.of_proxy != self.channels:
            got = f"{self.of_proxy} and {self.channels}"
            raise ValueError(f"ProxyAnoConfig.makers need a proxy with the image's channels, got {got}: use patches")
        if self.makers:
            self.lesions()
        for name, allowed in _WORDS.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"ProxyAnoConfig.{name} is one of {', '.join(allowed)}, got {getattr(self, name)!r}")

    @property
    def of_proxy(self) -> int:
        """Channels K of the proxy."""
        return self.proxy_channels or self.channels

    @property
    def repairs(self) -> bool:
        """Stage 2 also learns from pseudo-abnormal proxies."""
        return self.lambda_global > 0 or self.lambda_local > 0

    def of_first_stage(self) -> Self:
        """All that only stage 2 reads at its default, without a discriminator: the Proxy Extraction Module alone."""
        defaults: dict[str, Any] = {f.name: f.default for f in fields(self) if f.name in SECOND_STAGE}
        return replace(self, **{**defaults, "adversarial": False})

    def lesions(self) -> MakerConfig:
        """What the makers draw from."""
        return MakerConfig(
            makers=self.makers, radius=self.maker_radius, strength=self.maker_strength, count=self.patch_count
        )


SECOND_STAGE = (
    "reconstruction_skips",
    "reconstruction_widths",
    "adversarial",
    "lambda_adversarial",
    "lambda_global",
    "lambda_local",
    "generator_loss",
    "discriminator_widths",
    "patch_source",
    "patch_on",
    "patch_count",
    "patch_side",
    "makers",
    "maker_radius",
    "maker_strength",
    "local_mean_over",
)
"""Fields that stage 1 does not depend on."""
_WORDS = {
    "memory": ("nearest", "none"),
    "head": ("linear", "sigmoid"),
    "generator_loss": ("minimax", "non_saturating"),
    "patch_source": ("other", "same"),
    "patch_on": ("true", "predicted", "image"),
    "local_mean_over": ("image", "patch"),
}


def _at_least(name: str, value: float, low: float) -> None:
    if value < low:
        raise ValueError(f"ProxyAnoConfig.{name} is at least {low}, got {value}")
