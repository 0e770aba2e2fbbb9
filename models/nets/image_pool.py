"""Images that a generator made earlier, for its judge to see again (CycleGAN's history).

Shrivastava et al., "Learning from Simulated and Unsupervised Images through Adversarial Training", CVPR 2017.
"""

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Up to `count` images (C, H, W) in [0, 1], kept as uint8 buffers so that a resumed training has the same ones."""

    images: Tensor
    held: Tensor

    def __init__(self, count: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(count, channels, *(size if count else (0, 0)), dtype=torch.uint8))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, fresh: Tensor, generator: torch.Generator) -> Tensor:
        """For each of (B, C, H, W): itself and kept while there is room; then itself or, as often, an earlier one.

        An earlier one leaves the pool, the fresh one takes its place. A pool of 0 gives back what it gets.
        """
        count = len(self.images)
        if count == 0:
            return fresh
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
