"""Lesion masks: which pixels of a file are marked."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.read.gray import check_size
from pipeline.data.read.images import check_whole, depth, is_preview, opened, upright, values
from pipeline.errors import UnusableImage

MAX_MARKED = 0.9  # share of pixels that a lesion mask may mark; above it the mask is inverted or is an alpha plane
MAX_BORDER = 0.75  # share of the outermost pixels that a mask of more than half of the image may mark
MANY = 16  # gray values; a mask with more is no table of labels, but has soft edges or was compressed with loss

TWO, LABELS, SOFT, EMPTY = "two values", "labels above 0", "many gray values, marked above half", "nothing marked"
"""Rules by which pixels are marked."""


def marked_pixels(source: Any, shape: tuple[int, int]) -> tuple[NDArray[np.bool_], str]:
    """Marked pixels (H, W) of a mask file for an image of ``shape`` (H, W), and the rule; pages are laid together.

    Raises ``UnusableImage`` for another size and for masks that mark too much.
    """
    image = opened(source)
    marked, rule = np.zeros(shape, bool), EMPTY
    for page in range(getattr(image, "n_frames", 1) if image.format == "TIFF" else 1):
        image.seek(page)
        if is_preview(image):
            continue
        check_size(*image.size, frames=page + 1, depth=depth(image, source))
        image.load()
        check_whole(image, source)
        turned, _ = upright(image)
        if turned.size != (shape[1], shape[0]):
            expected, got = f"{shape[1]}×{shape[0]} px like its image", f"{turned.size[0]}×{turned.size[1]}"
            raise UnusableImage(f"expected a mask of {expected}, got {got}")
        bright, rule = _bright(_levels(turned), lossy=image.format in ("JPEG", "MPO"))
        marked |= bright
    share, edge = float(marked.mean()), np.concatenate([marked[0], marked[-1], marked[:, 0], marked[:, -1]])
    if share > MAX_MARKED:
        raise UnusableImage(f"the mask marks {share:.0%} of the image, expected at most {MAX_MARKED:.0%}")
    if share > 0.5 and edge.mean() > MAX_BORDER:
        what = f"the mask marks {share:.0%} of the image and its whole border"
        raise UnusableImage(f"{what}: black and white are exchanged; invert it")
    return marked, rule if marked.any() else EMPTY


def _levels(image: Image.Image) -> NDArray[Any]:
    """One value (H, W) a pixel, 0 where nothing is marked: a palette counts by its colours, alpha hides."""
    if image.mode == "F" or image.mode.startswith("I"):
        array, white_is_zero = values(image)
        return array.max() - array if white_is_zero else array
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode == "P":  # the colours of its 256 values, looked up, cost a tenth of converting a large mask
        table = image.resize((256, 1))
        table.putdata(range(256))
        return np.asarray(cv2.LUT(np.asarray(image), _levels(table.convert("RGBA"))[0]))
    layer = np.asarray(image.convert("RGBA"))
    colour, alpha = layer[..., :3].max(axis=-1), layer[..., 3]
    if not colour.any():  # the shape is in the alpha plane alone, unless that is opaque
        return alpha if alpha.min() < alpha.max() else colour
    return np.where(alpha > 127, colour, 0)


def _bright(levels: NDArray[Any], *, lossy: bool) -> tuple[NDArray[np.bool_], str]:
    """The larger of two values; above half of full where there are many or fractions; else all but 0."""
    missing = np.isnan(levels) if levels.dtype.kind == "f" else np.zeros(levels.shape, bool)
    if levels.dtype == np.uint8:
        there = np.flatnonzero(Image.fromarray(levels).histogram())
    else:
        there = np.unique(levels[~missing])
    if missing.any() and len(there) and (len(there) == 1 or there[0] > 0):
        # numbers on a background of NaN, or NaN on 0
        return (~missing if there[0] > 0 else missing), "numbers beside NaN"
    if len(there) == 2 and not missing.any():
        return np.asarray(~missing & (levels == there[1])), TWO
    if len(there) and there[0] < 0:
        raise UnusableImage(f"expected mask values of at least 0, got {there[0]:g} among {len(there)}")
    top = float(there[-1]) if len(there) else 0.0
    fractions = bool((there != np.rint(there)).any())
    full = max(top, 1.0) if fractions else 2.0 ** int(top).bit_length() - 1
    soft = lossy or fractions or (len(there) > MANY and top > 127)
    return np.asarray(~missing & (np.nan_to_num(levels) > (full / 2 if soft else 0))), SOFT if soft else LABELS
