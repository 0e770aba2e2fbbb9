"""Shortcuts: properties of a file and its form that may separate the classes without showing any disease.

A method whose AUROC is not well above the best shortcut may have learned the source of an image instead of the disease.
Legend: n tiles, C channels, h, w pixels of a tile.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.evaluation.pasted_lesions import SPLIT
from pipeline.evaluation.score_name import SHORTCUT, ScoreName
from pipeline.evaluation.scoreboard import SCORED_SPLITS, Scoreboard
from pipeline.forms.form import NO_DATA, SCORED
from pipeline.tiles.loading import load_tiles

SHORTCUTS = {
    "bytes": "size of the file",
    "pixels": "pixel count of the image",
    "aspect": "aspect ratio of the image",
    "valid_fraction": "scored fraction of the tiles",
    "high_frequency": "high-frequency energy of the tiles",
}
"""Shortcut → what it measures."""


def high_frequency(pixels: NDArray[np.uint8], validity: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Sum of squared high-pass values and count of scored pixels (n, 2) of tiles (n, C, h, w), ``validity`` (n, h, w).

    The high pass is x minus its Gaussian of 1 px over imaged pixels only, x in [0, 1] and averaged over channels.
    """
    energy = np.empty((len(pixels), 2))
    for i, (tile, codes) in enumerate(zip(pixels, validity, strict=True)):
        seen = (codes != NO_DATA).astype(np.float32)
        gray = tile.astype(np.float32).mean(axis=0) / 255 * seen
        weight = np.maximum(ndimage.gaussian_filter(seen, 1.0), 1e-6)
        rest = (gray - ndimage.gaussian_filter(gray, 1.0) / weight)[codes == SCORED]
        energy[i] = np.square(rest).sum(), rest.size
    return energy


def shortcut_table(
    images: pd.DataFrame, index: pd.DataFrame, pixels: NDArray[np.uint8], validity: NDArray[np.uint8]
) -> pd.DataFrame:
    """One row an image of ``index``, in its order: image_id and the columns of ``SHORTCUTS``.

    ``images`` is the manifest (image_id, bytes, width, height); tiles are as for ``high_frequency``. ``ValueError`` if
    an image of a tile is not in the manifest or has no scored pixel.
    """
    if not len(index) == len(pixels) == len(validity):
        raise ValueError(f"rows must agree: index {len(index)}, pixels {len(pixels)}, validity {len(validity)}")
    tiles = pd.DataFrame(high_frequency(pixels, validity), columns=["energy", "scored"])
    tiles = tiles.assign(area=np.prod(validity.shape[1:]), image_id=index["image_id"].to_numpy())
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
    return pd.DataFrame(columns, dtype=float).reset_index()


def with_shortcuts(scoreboard: Scoreboard) -> pd.DataFrame:
    """The table of scores with the shortcuts' columns, without the copies, whose files are those of their originals."""
    inputs = scoreboard.inputs
    held = load_tiles(inputs.tiles, None, splits=SCORED_SPLITS)
    manifest = pd.read_parquet(inputs.images.path / "images.parquet")
    columns = {name: ScoreName(kind=SHORTCUT, owner=name, score="value").column for name in SHORTCUTS}
    shortcuts = shortcut_table(manifest, held.index, held.pixels, held.validity).rename(columns=columns)
    images = scoreboard.table[scoreboard.table["split"] != SPLIT].reset_index(drop=True)
    return images.merge(shortcuts, on="image_id", how="left", validate="one_to_one")
