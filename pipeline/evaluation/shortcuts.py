"""Shortcuts: properties of a file and its form that may separate the classes without showing any disease.

A method whose AUROC is not well above the best shortcut may have learned the source of an image instead of the disease.
Legend: n tiles, C channels, h, w pixels of a tile.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.detectors.images import BLOCK
from pipeline.evaluation.carried import Carried, Result
from pipeline.evaluation.pasted_lesions import SPLIT
from pipeline.evaluation.score_name import SHORTCUT, ScoreName
from pipeline.evaluation.scoreboard import SCORED_SPLITS, Scoreboard
from pipeline.forms.form import NO_DATA, SCORED
from pipeline.tiles.loading import TileSet, tile_blocks

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


def shortcut_table(images: pd.DataFrame, tiles: pd.DataFrame) -> pd.DataFrame:
    """One row an image of ``tiles``, in its order: image_id and the columns of ``SHORTCUTS``.

    ``images`` is the manifest (image_id, bytes, width, height), ``tiles`` has sums over the tiles of each image
    (image_id, energy, scored, area). ``ValueError`` if an image is not in the manifest or has no scored pixel.
    """
    sums = tiles.set_index("image_id")
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


def tile_sums(held: TileSet) -> Iterator[tuple[str, Result]]:
    """energy, scored and area of each image of tiles at full size."""
    tiles = pd.DataFrame(high_frequency(held.pixels, held.validity), columns=["energy", "scored"])
    tiles = tiles.assign(area=float(np.prod(held.validity.shape[1:])), image_id=held.index["image_id"].to_numpy())
    for row in tiles.groupby("image_id", sort=False).sum().reset_index().to_dict("records"):
        yield str(row["image_id"]), Result({name: row[name] for name in ("energy", "scored", "area")})


def with_shortcuts(scoreboard: Scoreboard, carried: Carried) -> pd.DataFrame:
    """The table of scores with the shortcuts' columns, without the copies, whose files are those of their originals."""
    inputs = scoreboard.inputs

    def measured(missing: list[str]) -> Iterator[tuple[str, Result]]:
        for block in tile_blocks(inputs.tiles, None, splits=SCORED_SPLITS, count=BLOCK, image_ids=missing):
            yield from tile_sums(block)

    found = carried.each(inputs.digests.keys("shortcuts", *SCORED_SPLITS), measured)
    sums = pd.DataFrame([{"image_id": image_id, **result.values} for image_id, result in found.items()])
    manifest = pd.read_parquet(inputs.images.path / "images.parquet")
    columns = {name: ScoreName(kind=SHORTCUT, owner=name, score="value").column for name in SHORTCUTS}
    shortcuts = shortcut_table(manifest, sums).rename(columns=columns)
    images = scoreboard.table[scoreboard.table["split"] != SPLIT].reset_index(drop=True)
    return images.merge(shortcuts, on="image_id", how="left", validate="one_to_one")
