"""Encoder and decoder as one module: image to image of the same size, with or without skips between them.

Shapes: (B, C, H, W) → (B, C, H, W); H and W are multiples of 2^(L−1) for L widths.
"""

from torch import Tensor, nn

from models.nets.decoder import Decoder
from models.nets.encoder import Encoder


class EncoderDecoder(nn.Module):
    """Dec(Enc(I)) of ProxyAno's own building blocks; with skips it is a U-Net."""

    def __init__(self, channels: int, widths: tuple[int, ...], latent_dim: int, *, skips: bool, sigmoid: bool) -> None:
        super().__init__()
        self.encoder = Encoder(channels, widths, latent_dim)
        self.decoder = Decoder(channels, widths, latent_dim, skips=skips, sigmoid=sigmoid)

    def forward(self, image: Tensor) -> Tensor:
        """Image of an image."""
        latent, features = self.encoder.features(image)
        rebuilt: Tensor = self.decoder(latent, features)
        return rebuilt
