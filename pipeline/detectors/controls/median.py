"""The median filter: how a pixel differs from its surroundings, without any training."""

import cv2
import numpy as np

from models.scoring import Array


def median_residual(canvas: Array, size: int = 61) -> Array:
    """Signed difference (m, H, W) of canvases in [0, 1] from their median in a window of ``size`` px (odd).

    The median is taken in steps of 1/255. Raises ``ValueError`` for an even size.
    """
    if size % 2 == 0:
        raise ValueError(f"median window: expected an odd number of px, got {size}")
    codes = np.floor(np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)
    medians = np.stack([cv2.medianBlur(image, size) for image in codes])
    return (canvas - medians.astype(np.float32) / 255).astype(np.float32)
