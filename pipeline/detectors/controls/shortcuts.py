"""What says nothing about disease, yet may tell the classes apart: properties of the file and of its form.

A method whose AUROC is not well above the best of these has shown nothing: it may have found the source of an image,
not the disease in it. Legend: n tiles, C channels, h, w pixels of a tile.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.forms.form import NO_DATA, SCORED

SHORTCUTS = {
    "bytes": "size of the file",
    "pixels": "pixel count of the image",
    "aspect": "aspect ratio of the image",
    "valid_fraction": "scored fraction of the tiles",
    "high_frequency": "high-frequency energy of the tiles",
}
"""Shortcut → what it measures."""


def high_frequency(pixels: NDArray[np.uint8], validity: NDArray[np.uint8], sigma: float = 1.0) -> NDArray[np.float64]:
    """Sum of squared high-pass values and count of scored pixels of each tile, (n, 2).

    The high pass is x minus its Gaussian (``sigma`` px, over imaged pixels only, so that no border of the invalid
    region counts as texture), x in [0, 1] and averaged over channels; ``pixels`` (n, C, h, w), ``validity`` (n, h, w).
    """
    energy = np.empty((len(pixels), 2))
    for i, (tile, codes) in enumerate(zip(pixels, validity, strict=True)):
        seen = (codes != NO_DATA).astype(np.float32)
        gray = tile.astype(np.float32).mean(axis=0) / 255 * seen
        weight = np.maximum(ndimage.gaussian_filter(seen, sigma), 1e-6)
        rest = (gray - ndimage.gaussian_filter(gray, sigma) / weight)[codes == SCORED]
        energy[i] = np.square(rest).sum(), rest.size
    return energy


def shortcut_table(
    images: pd.DataFrame, index: pd.DataFrame, pixels: NDArray[np.uint8], validity: NDArray[np.uint8]
) -> pd.DataFrame:
    """One row an image of ``index``, in its order: image_id and the columns of ``SHORTCUTS``.

    ``images`` is the manifest (image_id, bytes, width, height); ``index`` names the image of each tile row of
    ``pixels`` (n, C, h, w) and ``validity`` (n, h, w). ValueError where an image of a tile is not in the manifest or
    has no scored pixel at all.
    """
    if not len(index) == len(pixels) == len(validity):
        raise ValueError(f"rows must agree: index {len(index)}, pixels {len(pixels)}, validity {len(validity)}")
    energy = high_frequency(pixels, validity)
    tiles = pd.DataFrame(
        {
            "image_id": index["image_id"].to_numpy(),
            "energy": energy[:, 0],
            "scored": energy[:, 1],
            "area": np.prod(validity.shape[1:]),
        }
    )
    sums = tiles.groupby("image_id", sort=False).sum()
    if (sums["scored"] == 0).any():
        raise ValueError(f"images without a scored pixel: {list(sums.index[sums['scored'] == 0])[:5]}")
    files = images.drop_duplicates("image_id").set_index("image_id")
    lost = sums.index.difference(files.index)
    if len(lost):
        raise ValueError(f"{len(lost)} images of the tiles are not in the manifest, such as {lost[0]!r}")
    files = files.loc[sums.index]
    columns = {
        "bytes": files["bytes"],
        "pixels": files["width"] * files["height"],
        "aspect": files["width"] / files["height"],
        "valid_fraction": sums["scored"] / sums["area"],
        "high_frequency": sums["energy"] / sums["scored"],
    }
    return pd.DataFrame({name: column.astype(float) for name, column in columns.items()}).reset_index()
