"""Between images in [0, 1] and the [−1, 1] that networks ending in a tanh work in."""

from torch import Tensor


def signed(image: Tensor) -> Tensor:
    """From [0, 1] to [−1, 1]."""
    return 2 * image - 1


def unsigned(value: Tensor) -> Tensor:
    """From [−1, 1] to [0, 1]."""
    return (value + 1) / 2
