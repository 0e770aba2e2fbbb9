"""Pictures of random tiles for visual inspection, with their validity or their proxies.

Red: not imaged. Blue: imaged but not scored. The bar above a tile is green for a normal image, orange for an abnormal
one.
"""

from collections.abc import Callable
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
LARGE = 160  # px of a tile next to its proxies of all kinds
BAR = 4  # px, height of the bar above a tile
ROW = 10  # tiles per row
TITLE = 16  # px, height of a line of text
_TINTS = {NO_DATA: ((200, 40, 40), 0.6), SEEN: ((40, 80, 220), 0.25)}  # validity → colour RGB, weight
_LABELS = ((60, 170, 90), (230, 130, 30))  # bar colour RGB of normal, abnormal


def tile_sheet(tiles: Version, *, count: int = 20, seed: int = 0) -> bytes:
    """PNG of ``count`` random tiles of every slot, tinted by validity."""
    pixels, validity = open_array(tiles.path, "pixels"), open_array(tiles.path, "validity")
    return _sheet(tiles, count, seed, lambda row: _tinted(_small(np.asarray(pixels[row])), np.asarray(validity[row])))


def proxy_sheet(tiles: Version, proxies: Version, *, count: int = 20, seed: int = 0) -> bytes:
    """PNG of ``count`` random tiles of every slot, each above its proxy."""
    arrays = [open_array(tiles.path, "pixels"), open_array(proxies.path, "pixels")]
    return _sheet(tiles, count, seed, lambda row: np.vstack([_small(np.asarray(array[row])) for array in arrays]))


def kinds_sheet(tiles: Version, config: ProxyConfig, *, count: int = 2, seed: int = 0) -> bytes:
    """PNG of ``count`` random normal tiles of up to three slots and their proxies of every kind (paper, Fig. 8).

    Edges that are one channel of several are drawn in red over the others.
    """
    pixels, validity = open_array(tiles.path, "pixels"), open_array(tiles.path, "validity")
    neutral, index = read_neutral(tiles.path), read_index(tiles)
    slots = index["slot"].unique()
    index = index[(index["label"] == 0) & index["slot"].isin(slots[:: max(1, -(-len(slots) // 3))])]
    titles = ["tile", *(TITLES[kind] for kind in PROXIES)]
    strips = [np.hstack([_title(text, LARGE, 0.36) for text in titles])]
    for _, rows in _draws(index, count, seed):
        for row, _ in rows:
            tile, seen = np.asarray(pixels[row]), np.asarray(validity[row]) != NO_DATA
            configs = [replace(config, kind=kind) for kind in PROXIES]
            shown = [_painted(proxy_of(tile, seen, neutral, one), seen, one) for one in configs]
            strips.append(np.hstack([_small(tile, LARGE), *shown]))
    return _png(strips)


def _painted(proxy: NDArray[np.uint8], seen: NDArray[np.bool_], config: ProxyConfig) -> NDArray[np.uint8]:
    """A proxy (K, H, W) as a picture, with edges in red if it has other channels too."""
    if config.kind == "edge":
        return _small(proxy, LARGE)
    picture = _small(proxy[config.edges :], LARGE)
    if config.edges:
        drawn = np.where(seen, proxy[0], 0).astype(np.float32) / 255
        share = cv2.resize(drawn, (LARGE, LARGE), interpolation=cv2.INTER_AREA)[..., None]
        red = np.array(_TINTS[NO_DATA][0], np.float32)
        picture = np.rint((1 - share) * picture + share * red).astype(np.uint8)
    return picture


def _sheet(tiles: Version, count: int, seed: int, draw: Callable[[int], NDArray[np.uint8]]) -> bytes:
    """PNG of what ``draw`` gives for ``count`` random rows of every slot, one strip per slot."""
    strips = []
    for slot, rows in _draws(read_index(tiles), count, seed):
        cells = [np.vstack([_bar(label), draw(row)]) for row, label in rows]
        blank = np.full_like(cells[0], 255)
        cells += [blank] * (-len(cells) % min(ROW, len(cells)))
        body = np.vstack([np.hstack(cells[start : start + ROW]) for start in range(0, len(cells), ROW)])
        strips += [_title(slot, body.shape[1], 0.4), body]
    return _png(strips)


def _title(text: str, width: int, scale: float) -> NDArray[np.uint8]:
    line = np.full((TITLE, width, 3), 255, np.uint8)
    cv2.putText(line, text, (2, TITLE - 4), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return line


def _bar(label: int) -> NDArray[np.uint8]:
    return np.full((BAR, SIDE, 3), _LABELS[int(label != 0)], np.uint8)


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
    """Tile (C, H, W) as a small RGB picture; unless C is 3, the last channel in gray."""
    picture = np.ascontiguousarray(np.moveaxis(tile if len(tile) == 3 else np.repeat(tile[-1:], 3, axis=0), 0, -1))
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _tinted(picture: NDArray[np.uint8], validity: NDArray[np.uint8]) -> NDArray[np.uint8]:
    codes = cv2.resize(validity, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    mixed = picture.astype(np.float32)
    for code, (colour, weight) in _TINTS.items():
        where = codes == code
        mixed[where] = (1 - weight) * mixed[where] + weight * np.array(colour, np.float32)
    return np.rint(mixed).astype(np.uint8)


def _png(strips: list[NDArray[np.uint8]]) -> bytes:
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    done, content = cv2.imencode(".png", np.vstack(padded)[..., ::-1])
    if not done:
        raise RuntimeError(f"OpenCV could not encode a picture of {len(strips)} strips")
    return content.tobytes()
