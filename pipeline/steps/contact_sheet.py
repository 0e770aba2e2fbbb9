"""Pictures of random tiles to look at: 20 a slot, with what is invalid tinted, or each tile beside its proxy.

Red: nothing was imaged there. Blue: imaged, but not scored. The bar above a tile is green for a normal image, orange
for an abnormal one.
"""

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.steps.canonical.form import NO_DATA, SEEN
from pipeline.steps.loading import read_index
from pipeline.steps.shards import open_array
from pipeline.steps.store import Version

SIDE = 96  # px of a tile on the sheet
BAR = 4  # px of the bar above it
ROW = 10  # tiles side by side
TITLE = 16  # px of a slot's title line
_TINTS = {NO_DATA: ((200, 40, 40), 0.6), SEEN: ((40, 80, 220), 0.25)}  # validity → colour RGB, weight
_LABELS = ((60, 170, 90), (230, 130, 30))  # bar colour RGB of normal, abnormal


def tile_sheet(tiles: Version, *, count: int = 20, seed: int = 0) -> bytes:
    """PNG of ``count`` random tiles of every slot, one row a slot, validity tinted."""
    pixels, validity = open_array(tiles.path, "pixels"), open_array(tiles.path, "validity")
    strips = []
    for slot, rows in _draws(read_index(tiles), count, seed):
        cells = []
        for row, label in rows:
            picture = _small(np.asarray(pixels[row]))
            cells.append(_cell(_tinted(picture, np.asarray(validity[row])), label))
        strips.append(_strip(slot, cells))
    return _png(strips)


def proxy_sheet(tiles: Version, proxies: Version, *, count: int = 20, seed: int = 0) -> bytes:
    """PNG of ``count`` random tiles of every slot, each above its proxy."""
    pixels, painted = open_array(tiles.path, "pixels"), open_array(proxies.path, "pixels")
    strips = []
    for slot, rows in _draws(read_index(tiles), count, seed):
        pairs = [(_small(np.asarray(pixels[row])), _small(np.asarray(painted[row])), label) for row, label in rows]
        strips.append(_strip(slot, [np.vstack([_cell(above, label), below]) for above, below, label in pairs]))
    return _png(strips)


def _draws(index: pd.DataFrame, count: int, seed: int) -> list[tuple[str, list[tuple[int, int]]]]:
    """For each slot in order: (store row, label) of ``count`` random tiles, in store order."""
    generator = np.random.default_rng(seed)
    draws = []
    for slot in index["slot"].unique():
        part = index[index["slot"] == slot]
        chosen = part.iloc[np.sort(generator.choice(len(part), min(count, len(part)), replace=False))]
        draws.append((str(slot), [(int(row), int(label)) for row, label in chosen[["tile", "label"]].to_numpy()]))
    return draws


def _small(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tile (C, H, W) as a small RGB picture."""
    picture = np.ascontiguousarray(np.moveaxis(tile if len(tile) == 3 else np.repeat(tile[:1], 3, axis=0), 0, -1))
    return np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _tinted(picture: NDArray[np.uint8], validity: NDArray[np.uint8]) -> NDArray[np.uint8]:
    codes = cv2.resize(validity, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    mixed = picture.astype(np.float32)
    for code, (colour, weight) in _TINTS.items():
        where = codes == code
        mixed[where] = (1 - weight) * mixed[where] + weight * np.array(colour, np.float32)
    return np.rint(mixed).astype(np.uint8)


def _cell(picture: NDArray[np.uint8], label: int) -> NDArray[np.uint8]:
    bar = np.empty((BAR, SIDE, 3), np.uint8)
    bar[:] = _LABELS[int(label != 0)]
    return np.vstack([bar, picture])


def _strip(slot: str, cells: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    blank = np.full_like(cells[0], 255)
    padded = [*cells, *[blank] * (-len(cells) % min(ROW, len(cells)))]
    body = np.vstack([np.hstack(padded[start : start + ROW]) for start in range(0, len(padded), ROW)])
    title = np.full((TITLE, body.shape[1], 3), 255, np.uint8)
    cv2.putText(title, slot, (2, TITLE - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([title, body])


def _png(strips: list[NDArray[np.uint8]]) -> bytes:
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    done, content = cv2.imencode(".png", np.vstack(padded)[..., ::-1])
    if not done:
        raise RuntimeError(f"OpenCV could not encode a picture of {len(strips)} strips")
    return content.tobytes()
