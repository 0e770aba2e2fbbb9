"""Contrast about mid-gray: images whose values lie close together use the whole range a network works in."""

from torch import Tensor

MIDDLE = 0.5


def stretched(image: Tensor, contrast: float) -> Tensor:
    """Distance to mid-gray times ``contrast``, clipped to [0, 1]."""
    return image if contrast == 1 else (MIDDLE + contrast * (image - MIDDLE)).clamp(0, 1)


def restored(image: Tensor, contrast: float) -> Tensor:
    """Inverse of `stretched`, but for what it clipped."""
    return image if contrast == 1 else MIDDLE + (image - MIDDLE) / contrast
