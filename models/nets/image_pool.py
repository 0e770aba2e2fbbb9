"""Images that a generator made earlier, shown to its discriminator again (CycleGAN's history).

Shrivastava et al., "Learning from Simulated and Unsupervised Images through Adversarial Training", CVPR 2017.
"""

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Up to `count` images (C, H, W) in [0, 1], kept as uint8 buffers so that a resumed training has the same."""

    images: Tensor
    held: Tensor

    def __init__(self, count: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(count, channels, *size, dtype=torch.uint8))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, fresh: Tensor, generator: torch.Generator) -> Tensor:
        """For each image of (B, C, H, W): itself, kept while there is room; later, half of the time, an earlier one.

        The fresh image then takes the place of the earlier one in the pool.
        """
        count = len(self.images)
        if fresh.shape[1:] != self.images.shape[1:]:
            raise ValueError(
                f"ImagePool keeps {tuple(self.images.shape[1:])}, got {tuple(fresh.shape[1:])}: set `size`"
            )
        given = fresh.clone()
        swaps = torch.rand(len(fresh), generator=generator) < 0.5
        places = torch.randint(count, (len(fresh),), generator=generator)
        for row, image in enumerate(fresh):
            held, place = int(self.held), int(places[row])
            if held < count:
                self.images[held] = _stored(image)
                self.held += 1
            elif bool(swaps[row]):
                given[row] = self.images[place].to(fresh.dtype) / 255
                self.images[place] = _stored(image)
        return given


def _stored(image: Tensor) -> Tensor:
    return (image.float().clamp(0, 1) * 255).round().to(torch.uint8)
