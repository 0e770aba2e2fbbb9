"""Pictures of random tiles to look at: 20 a slot, with what is invalid tinted, or each tile beside its proxy.

Red: nothing was imaged there. Blue: imaged, but not scored. The bar above a tile is green for a normal image, orange
for an abnormal one.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.forms.form import NO_DATA, SEEN
from pipeline.store.shards import open_array
from pipeline.store.versions import Version
from pipeline.tiles.loading import read_index, read_neutral
from pipeline.tiles.proxies import proxy_of
from pipeline.tiles.proxy_kinds import PROXIES, TITLES, ProxyConfig

SIDE = 96  # px of a tile on the sheet
LARGE = 160  # px of a tile beside its proxies of all kinds
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


def kinds_sheet(tiles: Version, config: ProxyConfig, *, count: int = 2, seed: int = 0) -> bytes:
    """PNG of ``count`` random normal tiles of up to three slots, beside their proxies of every kind (paper, Fig. 8).

    Where edges are concatenated they are drawn in red over the other channels.
    """
    pixels, validity = open_array(tiles.path, "pixels"), open_array(tiles.path, "validity")
    neutral, index = read_neutral(tiles.path), read_index(tiles)
    slots = index["slot"].unique()
    index = index[(index["label"] == 0) & index["slot"].isin(slots[:: max(1, -(-len(slots) // 3))])]
    strips = [_titles(["tile", *(TITLES[kind] for kind in PROXIES)])]
    for _, rows in _draws(index, count, seed):
        for row, _ in rows:
            tile, seen = np.asarray(pixels[row]), np.asarray(validity[row]) != NO_DATA
            configs = [replace(config, kind=kind) for kind in PROXIES]
            shown = [_painted(proxy_of(tile, seen, neutral, one), seen, one) for one in configs]
            strips.append(np.hstack([_small(tile, LARGE), *shown]))
    return _png(strips)


def _painted(proxy: NDArray[np.uint8], seen: NDArray[np.bool_], config: ProxyConfig) -> NDArray[np.uint8]:
    """A proxy (K, H, W) as a picture, its edges in red where there is more."""
    if config.kind == "edge":
        return _small(proxy, LARGE)
    picture = _small(proxy[config.edges :], LARGE)
    if config.edges:
        drawn = np.where(seen, proxy[0], 0).astype(np.float32) / 255
        share = cv2.resize(drawn, (LARGE, LARGE), interpolation=cv2.INTER_AREA)[..., None]
        red = np.array(_TINTS[NO_DATA][0], np.float32)
        picture = np.rint((1 - share) * picture + share * red).astype(np.uint8)
    return picture


def _titles(names: Sequence[str]) -> NDArray[np.uint8]:
    line = np.full((TITLE, LARGE * len(names), 3), 255, np.uint8)
    for number, name in enumerate(names):
        place = (LARGE * number + 2, TITLE - 4)
        cv2.putText(line, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 1, cv2.LINE_AA)
    return line


def _draws(index: pd.DataFrame, count: int, seed: int) -> list[tuple[str, list[tuple[int, int]]]]:
    """For each slot in order: (store row, label) of ``count`` random tiles, in store order."""
    generator = np.random.default_rng(seed)
    draws = []
    for slot in index["slot"].unique():
        part = index[index["slot"] == slot]
        chosen = part.iloc[np.sort(generator.choice(len(part), min(count, len(part)), replace=False))]
        draws.append((str(slot), [(int(row), int(label)) for row, label in chosen[["tile", "label"]].to_numpy()]))
    return draws


def _small(tile: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.uint8]:
    """Tile (C, H, W) as a small RGB picture; of channels that are neither one nor three the last is shown."""
    picture = np.ascontiguousarray(np.moveaxis(tile if len(tile) == 3 else np.repeat(tile[-1:], 3, axis=0), 0, -1))
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


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
