"""Load tiles into memory, downsample them to the training size (h, w), stitch grids of tiles to canvases."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from pipeline.forms.form import NO_DATA, SCORED, SEEN, TILE
from pipeline.store.shards import open_array, shards_of
from pipeline.store.versions import Version

HALF = 0.5 - 1e-4  # half of an area, less the rounding error of area sums
BLOCK_TILES = 16
"""Tiles of a block, at most: bounds the memory of what scores large canvases."""
AT_ONCE = 128
"""Tiles that are read from the store at once."""
IMAGE_COLUMNS = ["image_id", "split", "label", "klass", "group", "offset_row", "offset_col"]


@dataclass(frozen=True)
class TileSet:
    """Tiles of some splits. Row i of ``index`` describes row i of every array."""

    pixels: NDArray[np.uint8]  # (n, C, h, w)
    proxies: NDArray[np.uint8] | None  # (n, K, h, w): a proxy may have another number of channels
    validity: NDArray[np.uint8]  # (n, h, w), codes NO_DATA, SEEN, SCORED
    index: pd.DataFrame  # n rows of index.parquet; ``tile`` is the row in the store

    def rows(self, chosen: NDArray[np.bool_]) -> "TileSet":
        """The tiles that are chosen (n,)."""
        proxies = None if self.proxies is None else self.proxies[chosen]
        return TileSet(self.pixels[chosen], proxies, self.validity[chosen], self.index[chosen].reset_index(drop=True))

    def blocks(self, count: int) -> Iterator["TileSet"]:
        """The same tiles, at most ``count`` images or ``BLOCK_TILES`` tiles at a time; an image stays together."""
        names = self.index["image_id"].to_numpy()
        order = pd.unique(names)
        count = max(1, min(count, BLOCK_TILES * len(order) // max(1, len(names))))
        for part in np.array_split(order, max(1, -(-len(order) // count))):
            yield self.rows(np.isin(names, part))


def load_tiles(
    tiles: Version,
    proxies: Version | None,
    *,
    splits: Collection[str],
    canvas: str | None = None,
    size: tuple[int, int] = (TILE, TILE),
) -> TileSet:
    """Tiles of ``splits`` (and of one ``canvas``) in the store's order, downsampled to ``size`` (h, w).

    A pixel is the area mean of the valid pixels it covers: SCORED if half of its area is, else SEEN if half was imaged,
    else NO_DATA with the neutral value. Raises ``ValueError`` if no tile matches, ``size`` is not within 1 to 256, or
    tiles and proxies do not match.
    """
    if not all(1 <= side <= TILE for side in size):
        raise ValueError(f"size: expected rows and columns from 1 to {TILE}, got {size}")
    index = read_index(tiles)
    chosen = index["split"].isin(list(splits)) & (canvas is None or index["canvas"] == canvas)
    index = index[chosen].reset_index(drop=True)
    if index.empty:
        raise ValueError(f"{tiles.asset} {tiles.data_version}: no tile of splits {sorted(splits)}, canvas {canvas}")
    neutral = read_neutral(tiles.path)
    arrays = [open_array(tiles.path, "validity"), open_array(tiles.path, "pixels")]
    arrays += [] if proxies is None else [open_array(proxies.path, "pixels")]
    loaded = [np.empty((len(index), *array.shape[1:-2], *size), np.uint8) for array in arrays]
    for rows, (codes, *values) in _shard_blocks(arrays, index["tile"].to_numpy()):
        for target, block in zip(loaded, shrink(codes, values, size, neutral), strict=True):
            target[rows] = block
    return TileSet(loaded[1], None if proxies is None else loaded[2], loaded[0], index)


def tile_blocks(
    tiles: Version,
    proxies: Version | None,
    *,
    splits: Collection[str],
    count: int,
    canvas: str | None = None,
    image_ids: Collection[str] | None = None,
) -> Iterator[TileSet]:
    """Tiles at full size in the store's order, at most ``count`` images at a time.

    Of all canvases or one, and of all images of the splits or of ``image_ids``.
    """
    index = read_index(tiles)
    index = index[index["split"].isin(list(splits)) & (canvas is None or index["canvas"] == canvas)]
    index = index if image_ids is None else index[index["image_id"].isin(list(image_ids))]
    names, per_image = index["image_id"].unique(), max(1, len(index) // max(1, index["image_id"].nunique()))
    held = max(count, AT_ONCE // per_image)
    for start in range(0, len(names), held):
        part = index[index["image_id"].isin(names[start : start + held])].reset_index(drop=True)
        yield from _full_size(tiles, proxies, part).blocks(count)


def tiles_of(tiles: Version, proxies: Version | None, *, canvas: str, image_ids: Collection[str]) -> TileSet:
    """Tiles of some images on one canvas, at full size."""
    index = read_index(tiles)
    chosen = index["image_id"].isin(list(image_ids)) & (index["canvas"] == canvas)
    return _full_size(tiles, proxies, index[chosen].reset_index(drop=True))


def _full_size(tiles: Version, proxies: Version | None, index: pd.DataFrame) -> TileSet:
    rows = index["tile"].to_numpy()
    painted = None if proxies is None else read_rows(proxies, "pixels", rows)
    held = TileSet(read_rows(tiles, "pixels", rows), painted, read_rows(tiles, "validity", rows), index)
    return at_size(held, (TILE, TILE), read_neutral(tiles.path))


def at_size(tiles: TileSet, size: tuple[int, int], neutral: int) -> TileSet:
    """Tiles at full size, downsampled like those of ``load_tiles``."""
    values = [tiles.pixels] if tiles.proxies is None else [tiles.pixels, tiles.proxies]
    validity, pixels, *proxies = shrink(tiles.validity, values, size, neutral)
    return TileSet(pixels=pixels, proxies=proxies[0] if proxies else None, validity=validity, index=tiles.index)


def read_neutral(tiles: Path) -> int:
    """The uint8 value of pixels without data in the tiles store in folder ``tiles``."""
    return int(str(zarr.open_group(tiles, mode="r").attrs["neutral"]))


def read_index(tiles: Version) -> pd.DataFrame:
    """The index table of a tiles store: one row per tile, in row order."""
    return pd.read_parquet(tiles.path / "index.parquet")


def read_rows(version: Version, name: str, rows: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Rows (ascending) of an array of a store, such as ``lesions``, at full size."""
    array = open_array(version.path, name)
    out = np.empty((len(rows), *array.shape[1:]), np.uint8)
    for where, (block,) in _shard_blocks([array], np.asarray(rows)):
        out[where] = block
    return out


def shrink(
    validity: NDArray[np.uint8], values: list[NDArray[np.uint8]], size: tuple[int, int], neutral: int
) -> list[NDArray[np.uint8]]:
    """Validity (n, H, W) and each of ``values`` (n, C, H, W), downsampled to ``size`` as by ``load_tiles``."""
    if validity.shape[1:] == size:
        missing = (validity == NO_DATA)[:, None]
        return [validity, *(np.where(missing, np.uint8(neutral), value) for value in values)]
    codes = np.empty((len(validity), *size), np.uint8)
    outs = [np.empty((*value.shape[:2], *size), np.uint8) for value in values]
    for row, code in enumerate(validity):
        seen = (code != NO_DATA).astype(np.float32)
        weight, scored = _area_mean(seen, size), _area_mean((code == SCORED).astype(np.float32), size)
        codes[row] = np.where(scored >= HALF, SCORED, np.where(weight >= HALF, SEEN, NO_DATA))
        for value, out in zip(values, outs, strict=True):
            for channel, plane in enumerate(value[row]):
                mean = _area_mean(plane * seen, size) / np.maximum(weight, 1e-6)
                out[row, channel] = np.where(codes[row] == NO_DATA, neutral, np.rint(np.clip(mean, 0, 255)))
    return [codes, *outs]


def canvases(values: NDArray[np.generic], index: pd.DataFrame, canvas: str) -> tuple[pd.DataFrame, NDArray[np.generic]]:
    """Stitch tiles ``values`` (n, …, h, w), one per row of ``index``, to the canvases of their images.

    Returns one row per image, in order of first appearance, and (m, …, R·h, S·w) for a grid of R rows and S columns.
    Raises ``ValueError`` if index and values differ in length or a grid does not have every place once.
    """
    if len(values) != len(index):
        raise ValueError(f"{canvas}: expected one value per row of the index ({len(index)}), got {len(values)}")
    where = np.flatnonzero((index["canvas"] == canvas).to_numpy())
    part = index.iloc[where]
    if part.empty:
        raise ValueError(f"{canvas}: no tile of this canvas; there are {sorted(index['canvas'].unique())}")
    image, _ = pd.factorize(part["image_id"])
    row, col = part["canvas_row"].to_numpy(), part["canvas_col"].to_numpy()
    count, rows, cols = image.max() + 1, row.max() + 1, col.max() + 1
    place = (image * rows + row) * cols + col
    if not np.array_equal(np.sort(place), np.arange(count * rows * cols)):
        images = part["image_id"].value_counts()
        odd = images[images != rows * cols].index[:3].tolist()
        raise ValueError(f"{canvas}: expected each of {rows}x{cols} places once an image, got otherwise for {odd}")
    grid = values[where[np.argsort(place)]].reshape(count, rows, cols, *values.shape[1:])
    grid = np.moveaxis(grid, (1, 2), (-4, -2))  # (m, …, R, h, S, w)
    table = part.drop_duplicates("image_id")[IMAGE_COLUMNS].reset_index(drop=True)
    return table, grid.reshape(*grid.shape[:-4], rows * values.shape[-2], cols * values.shape[-1])


def _shard_blocks(
    arrays: list[zarr.Array[Any]], rows: NDArray[np.integer]
) -> Iterator[tuple[slice, list[NDArray[np.uint8]]]]:
    """Shard by shard: which of ``rows`` (ascending) it holds, and those rows of every array."""
    if len(counts := {array.shape[0] for array in arrays}) != 1:
        raise ValueError(f"tiles and proxies: expected equal numbers of rows, got {sorted(counts)}")
    for start, stop in shards_of(arrays[0]):
        low, high = (int(edge) for edge in np.searchsorted(rows, [start, stop]))
        if low < high:
            inside = rows[low:high] - start
            yield slice(low, high), [np.asarray(array[start:stop], np.uint8)[inside] for array in arrays]


def _area_mean(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.float32)
