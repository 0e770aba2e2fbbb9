"""Convolutional encoder: double conv3-BN-ReLU blocks with max-pooling between them, then a linear 1×1 to the latent.

Shapes: (B, C, H, W) → (B, D, H/2^(L−1), W/2^(L−1)) for L widths.
"""

from torch import Tensor, nn

NORM_EPS = 1e-3
"""Of batch norm: a channel that is nearly constant is not blown up by running statistics that lag behind (Keras's)."""


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3×3 convolutions, each with batch norm and ReLU; the size stays."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs, eps=NORM_EPS),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs, eps=NORM_EPS),
        nn.ReLU(inplace=True),
    )


class Encoder(nn.Module):
    """Image to latent; one double convolution a width, half the size after each but the last."""

    def __init__(self, channels: int, widths: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.factor = 2 ** (len(widths) - 1)
        self.blocks = nn.ModuleList(
            double_conv(inputs, outputs) for inputs, outputs in zip((channels, *widths[:-1]), widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(widths[-1], latent_dim, 1)

    def features(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Latent, and the output of every block but the last, finest first (for skips)."""
        height, width = image.shape[-2:]
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"Encoder halves the size {len(self.blocks) - 1} times: "
                f"height and width must be multiples of {self.factor}, got {height}×{width}"
            )
        outputs: list[Tensor] = []
        value = image
        for block in self.blocks:
            value = block(self.pool(value) if outputs else value)
            outputs.append(value)
        latent: Tensor = self.head(value)
        return latent, outputs[:-1]

    def forward(self, image: Tensor) -> Tensor:
        """Latent of an image."""
        return self.features(image)[0]
