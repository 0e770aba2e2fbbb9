"""First weights of adversarial networks."""

from torch import nn


def normal_start(module: nn.Module) -> None:
    """N(0, 0.02) for kernels, N(1, 0.02) for the factors of batch norm: DCGAN's, kept by pix2pix and CycleGAN."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
