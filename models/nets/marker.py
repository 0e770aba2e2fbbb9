"""A U-Net that marks pixels: images to one channel of log-odds.

Shapes: (B, C, H, W) → (B, 1, H, W); H and W are multiples of 2^(L−1) for L widths.
"""

from torch import Tensor, nn
from torch.nn import functional

from models.nets.decoder import Decoder
from models.nets.encoder import Encoder

NOTHING = -6.0
"""Log-odds below which a pixel counts as nothing at all: a map begins there."""


class Marker(nn.Module):
    """Log-odds that a pixel is abnormal."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = Encoder(channels, widths, widths[-1])
        self.decoder = Decoder(1, widths, widths[-1], skips=True, sigmoid=False)

    def forward(self, image: Tensor) -> Tensor:
        """Log-odds of an image."""
        latent, features = self.encoder.features(image)
        odds: Tensor = self.decoder(latent, features)
        return odds


def marks(odds: Tensor, valid: Tensor) -> Tensor:
    """A map (B, 1, H, W) ≥ 0 of log-odds: how far they are above `NOTHING`, zero where there is no data."""
    return functional.softplus(odds - NOTHING) * valid
