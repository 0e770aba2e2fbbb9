"""No canonical form, as in the paper: the gray image resized to one 256x256 tile."""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnusableImage
from pipeline.forms.form import SCORED, TILE, SlotTile, TileTransform


class PlainForm:
    """The whole image stretched to the tile, intensities in [0, 1] as stored (paper, IV-A)."""

    name = "plain"
    version = 1
    canvases: Mapping[str, tuple[int, int]] = {"image": (1, 1)}
    neutral = 0

    def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
        """One tile of a (H, W) or (H, W, 3) image; lesion masks by area fraction of one half."""
        gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        height, width = gray.shape
        if min(height, width) < 16:
            raise UnusableImage(f"image is {width}x{height} px, expected at least 16 px a side")
        shrink = cv2.INTER_AREA if min(height, width) >= TILE else cv2.INTER_LINEAR
        lesions = [
            cv2.resize(mask.astype(np.float32), (TILE, TILE), interpolation=shrink) >= 0.5 for mask in masks.values()
        ]
        dx, dy = width / TILE, height / TILE
        transform = TileTransform(height=height, width=width, x0=dx / 2 - 0.5, dx=dx, y0=dy / 2 - 0.5, dy=dy)
        tile = SlotTile(
            slot="image",
            pixels=cv2.resize(gray, (TILE, TILE), interpolation=shrink)[None],
            validity=np.full((TILE, TILE), SCORED, np.uint8),
            lesions=np.array(lesions, bool).reshape(len(masks), TILE, TILE),
            transform=transform,
        )
        return (tile,)
