"""Pseudo-abnormal proxies: patches of another normal image pasted on a normal proxy (the paper's PAPC, III-D).

Legend: B images, C channels, H, W pixels; all draws come from the generator, on the CPU for any device.
"""

import torch
from torch import Tensor

Draw = torch.Generator
Range = tuple[float, float]
SIDE = (0.0625, 0.25)
"""Range of a patch's height and width as shares of the image's side (our choice for "random size"): 16-64 px at 256."""


def pseudo_abnormal(
    image: Tensor, proxy: Tensor, valid: Tensor, draw: Draw, *, count: tuple[int, int], side: Range, other_image: bool
) -> tuple[Tensor, Tensor]:
    """Proxies P' (B, C, H, W) and their paste masks M (B, 1, H, W).

    `count` is the range of patches per image, `side` the range of their height and width as shares of the image's
    side. A patch is cut around a random valid pixel of the source image and pasted around a random valid pixel of the
    proxy. Pixels that leave the frame, or have no data in the source or the target, are not pasted.
    """
    total, device = len(image), image.device
    source = torch.arange(total)  # index of the image each patch comes from; never the image itself if there is another
    if other_image and total > 1:
        source = (source + torch.randint(1, total, (total,), generator=draw)) % total
    draws = torch.rand(count[1], 6, total, generator=draw).to(device)
    wanted = torch.randint(count[0], count[1] + 1, (total,), generator=draw).to(device)
    donor, donor_valid = image[source.to(device)], valid[source.to(device)]
    altered, mask = proxy.clone(), torch.zeros_like(valid)
    for number, places in enumerate(draws):
        patch, where = _patch(donor, donor_valid, valid, places, side)
        where = (where & (number < wanted)[:, None, None, None]).to(valid.dtype)
        altered = torch.where(where > 0, patch.to(altered.dtype), altered)
        mask = torch.maximum(mask, where)
    return altered, mask


def _patch(donor: Tensor, donor_valid: Tensor, valid: Tensor, draw: Tensor, side: Range) -> tuple[Tensor, Tensor]:
    """Donor pixels moved to their target (B, C, H, W), and where they land (B, 1, H, W) bool."""
    total, channels, height, width = donor.shape
    low, span = side[0], side[1] - side[0]
    tall = ((low + span * draw[0]) * height).round().clamp(min=1, max=height).long()
    wide = ((low + span * draw[1]) * width).round().clamp(min=1, max=width).long()
    to_row, to_column = _valid_pixel(valid, draw[2], draw[3])
    from_row, from_column = _valid_pixel(donor_valid, draw[4], draw[5])
    rows = torch.arange(height, device=donor.device)[None, :, None]
    columns = torch.arange(width, device=donor.device)[None, None, :]
    top, left = (to_row - tall // 2)[:, None, None], (to_column - wide // 2)[:, None, None]
    inside = (rows >= top) & (rows < top + tall[:, None, None])
    inside = inside & (columns >= left) & (columns < left + wide[:, None, None])
    donor_top = (from_row - tall // 2).clamp(min=0).minimum(height - tall)[:, None, None]
    donor_left = (from_column - wide // 2).clamp(min=0).minimum(width - wide)[:, None, None]
    from_rows = (rows - top + donor_top).clamp(0, height - 1)
    from_columns = (columns - left + donor_left).clamp(0, width - 1)
    index = (from_rows * width + from_columns).reshape(total, 1, height * width)
    moved = donor.reshape(total, channels, -1).gather(2, index.expand(-1, channels, -1)).reshape_as(donor)
    known = donor_valid.reshape(total, 1, -1).gather(2, index).reshape_as(donor_valid) > 0
    return moved, inside[:, None] & known & (valid > 0)


def _valid_pixel(valid: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column (B,) of a valid pixel: a row in proportion to its valid pixels, then one of those."""
    pixels = valid[:, 0] > 0
    row = _pick(pixels.sum(dim=2), first)
    return row, _pick(pixels[torch.arange(len(pixels), device=pixels.device), row].long(), second)


def _pick(weights: Tensor, draw: Tensor) -> Tensor:
    """Index (B,) drawn in proportion to whole-number weights (B, n), alike if all are 0, from draws (B,) in [0, 1)."""
    running = torch.where(weights.sum(dim=1, keepdim=True) > 0, weights, torch.ones_like(weights)).cumsum(dim=1)
    target = (draw * running[:, -1]).floor().clamp(max=running[:, -1] - 1)
    return (running <= target[:, None]).sum(dim=1)
