"""Checks of stored tiles and proxies (passed, figures), and pictures of random ones.

Red is not imaged, blue imaged but not scored; the bar above a tile is green for normal, orange for abnormal.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from pipeline.forms.form import NO_DATA, SCORED, SEEN
from pipeline.store.shards import open_array, shards_of
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


def tile_coverage(tiles: Version, images: Version) -> tuple[bool, dict[str, Any]]:
    """Every image of the manifest has each place of each canvas once, or is in the quarantine table."""
    index = read_index(tiles)
    manifest = pd.read_parquet(images.path / "images.parquet", columns=["image_id", "path"])
    refused = set(pd.read_parquet(tiles.path / "quarantine.parquet")["path"])
    grids: Any = zarr.open_group(tiles.path, mode="r").attrs["canvases"]
    expected = sum(rows * cols for rows, cols in grids.values())
    slots = index.groupby("image_id")["slot"].agg(["size", "nunique"])
    partial = slots.index[(slots["size"] != expected) | (slots["nunique"] != expected)].tolist()
    missing = ~manifest["image_id"].isin(index["image_id"]) & ~manifest["path"].isin(refused)
    lost = manifest.loc[missing, "path"].tolist()
    rows = np.array_equal(index["tile"].to_numpy(), np.arange(open_array(tiles.path, "pixels").shape[0]))
    figures = {"images": len(slots), "slots": expected, "tiles": len(index), "quarantined": len(refused)}
    figures |= {"rows_aligned": rows, "images_with_other_slots": len(partial), "images_lost": len(lost)}
    return not partial and not lost and rows, {**figures, "examples": [*partial[:3], *lost[:3]]}


def tile_values(tiles: Version) -> tuple[bool, dict[str, Any]]:
    """Validity holds known codes, no-data pixels the neutral value, lesions 0 or 1; every tile has scored pixels."""
    neutral = read_neutral(tiles.path)
    pixels, validity = open_array(tiles.path, "pixels"), open_array(tiles.path, "validity")
    names = zarr.open_group(tiles.path, mode="r").attrs["lesions"]
    codes = painted = marks = empty = 0
    for start, stop in shards_of(pixels):
        code, block = np.asarray(validity[start:stop]), np.asarray(pixels[start:stop])
        codes += int((code > SCORED).sum())
        painted += int(((block != neutral) & (code == NO_DATA)[:, None]).sum())
        empty += int((~(code == SCORED).any(axis=(1, 2))).sum())
        if names:
            marks += int((np.asarray(open_array(tiles.path, "lesions")[start:stop]) > 1).sum())
    figures = {"unknown_validity_codes": codes, "painted_no_data_pixels": painted, "odd_lesion_values": marks}
    return not any([codes, painted, marks, empty]), {**figures, "tiles_without_scored_pixels": empty}


def proxy_values(tiles: Version, proxies: Version) -> tuple[bool, dict[str, Any]]:
    """Every tile has a proxy, neutral where there is no data, with edges of 0 or 255 and levels in the tile's range."""
    neutral = read_neutral(tiles.path)
    config = ProxyConfig(kind=str(zarr.open_group(proxies.path, mode="r").attrs["kind"]))
    pixels, painted = open_array(tiles.path, "pixels"), open_array(proxies.path, "pixels")
    figures: dict[str, Any] = {"tiles": list(pixels.shape), "proxies": list(painted.shape)}
    if painted.shape != (pixels.shape[0], config.channels(pixels.shape[1]), *pixels.shape[2:]):
        return False, figures
    outside = filled = gray = 0
    error = 0.0
    for start, stop in shards_of(pixels):
        tile, proxy = np.asarray(pixels[start:stop]), np.asarray(painted[start:stop])
        missing = (np.asarray(open_array(tiles.path, "validity")[start:stop]) == NO_DATA)[:, None]
        filled += int(((proxy != neutral) & missing).sum())
        edges, levels = proxy[:, : config.edges], proxy[:, config.edges :]
        gray += int((~np.isin(edges, (0, 255)) & ~missing).sum())
        low, high = tile.min(axis=(2, 3), keepdims=True), tile.max(axis=(2, 3), keepdims=True)
        if levels.size:
            outside += int(((levels < low) | (levels > high)).any(axis=(1, 2, 3)).sum())
            error += float(np.abs(tile.astype(np.int16) - levels).mean(axis=(1, 2, 3)).sum())
    figures |= {"proxies_outside_tile_range": outside, "painted_no_data_pixels": filled, "gray_edge_pixels": gray}
    figures["mean_absolute_difference"] = error / pixels.shape[0] / 255
    return not outside and not filled and not gray, figures


def tile_sheet(tiles: Version, *, count: int = 20, seed: int = 0) -> bytes:
    """PNG of ``count`` random tiles of every slot, tinted by validity."""
    pixels, validity = open_array(tiles.path, "pixels"), open_array(tiles.path, "validity")
    return _sheet(tiles, count, seed, lambda row: _tinted(_small(np.asarray(pixels[row])), np.asarray(validity[row])))


def proxy_sheet(tiles: Version, proxies: Version, *, count: int = 20, seed: int = 0) -> bytes:
    """PNG of ``count`` random tiles of every slot, each above its proxy."""
    arrays = [open_array(tiles.path, "pixels"), open_array(proxies.path, "pixels")]
    return _sheet(tiles, count, seed, lambda row: np.vstack([_small(np.asarray(array[row])) for array in arrays]))


def kinds_sheet(tiles: Version, config: ProxyConfig, *, count: int = 2, seed: int = 0) -> bytes:
    """PNG of ``count`` random normal tiles of up to three slots and their proxies of every kind (paper, Fig. 8)."""
    pixels, validity = open_array(tiles.path, "pixels"), open_array(tiles.path, "validity")
    neutral, index = read_neutral(tiles.path), read_index(tiles)
    slots = index["slot"].unique()
    index = index[(index["label"] == 0) & index["slot"].isin(slots[:: max(1, -(-len(slots) // 3))])]
    configs = [replace(config, kind=kind) for kind in PROXIES]
    strips = [np.hstack([_title(text, LARGE, 0.36) for text in ("tile", *TITLES.values())])]
    for row in (row for _, rows in _draws(index, count, seed) for row, _ in rows):
        tile, seen = np.asarray(pixels[row]), np.asarray(validity[row]) != NO_DATA
        shown = [_painted(proxy_of(tile, seen, neutral, one), seen, one) for one in configs]
        strips.append(np.hstack([_small(tile, LARGE), *shown]))
    return _png(strips)


def _painted(proxy: NDArray[np.uint8], seen: NDArray[np.bool_], config: ProxyConfig) -> NDArray[np.uint8]:
    """A proxy (K, H, W) as a picture, with edges in red if it has other channels too."""
    picture = _small(proxy if config.kind == "edge" else proxy[config.edges :], LARGE)
    if config.edges and config.kind != "edge":
        drawn = np.where(seen, proxy[0], 0).astype(np.float32) / 255
        share = cv2.resize(drawn, (LARGE, LARGE), interpolation=cv2.INTER_AREA)[..., None]
        red = np.array(_TINTS[NO_DATA][0], np.float32)
        picture = np.rint((1 - share) * picture + share * red).astype(np.uint8)
    return picture


def _sheet(tiles: Version, count: int, seed: int, draw: Callable[[int], NDArray[np.uint8]]) -> bytes:
    """PNG of what ``draw`` gives for ``count`` random rows of every slot, one strip per slot."""
    strips = []
    for slot, rows in _draws(read_index(tiles), count, seed):
        bars = [np.full((BAR, SIDE, 3), _LABELS[int(label != 0)], np.uint8) for _, label in rows]
        cells = [np.vstack([bar, draw(row)]) for bar, (row, _) in zip(bars, rows, strict=True)]
        cells += [np.full_like(cells[0], 255)] * (-len(cells) % min(ROW, len(cells)))
        body = np.vstack([np.hstack(cells[start : start + ROW]) for start in range(0, len(cells), ROW)])
        strips += [_title(slot, body.shape[1], 0.4), body]
    return _png(strips)


def _title(text: str, width: int, scale: float) -> NDArray[np.uint8]:
    line = np.full((TITLE, width, 3), 255, np.uint8)
    cv2.putText(line, text, (2, TITLE - 4), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return line


def _draws(index: pd.DataFrame, count: int, seed: int) -> list[tuple[str, list[tuple[int, int]]]]:
    """For each slot in order: (store row, label) of ``count`` random tiles, in store order."""
    generator, draws = np.random.default_rng(seed), []
    for slot, part in index.groupby("slot", sort=False):
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
    return cv2.imencode(".png", np.vstack(padded)[..., ::-1])[1].tobytes()
