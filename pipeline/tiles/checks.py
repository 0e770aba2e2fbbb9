"""Checks of stored tiles and proxies: each returns whether it passed, and figures to show with it."""

from typing import Any

import numpy as np
import pandas as pd
import zarr

from pipeline.forms.form import NO_DATA, SCORED
from pipeline.store.shards import open_array, shards_of
from pipeline.store.versions import Version
from pipeline.tiles.loading import read_index, read_neutral
from pipeline.tiles.proxy_kinds import ProxyConfig


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
    examples = [*partial[:3], *lost[:3]]
    return not partial and not lost and rows, {**figures, "examples": examples}


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


def normal_rows(normals: Version) -> tuple[bool, dict[str, Any]]:
    """Training and validation hold normals alone, and no duplicate group lies in both."""
    index = read_index(normals)
    groups = index.groupby("split")["group"].unique()
    shared = sorted(set(groups.get("train", ())) & set(groups.get("val", ())))
    figures = {"abnormal_tiles": int((index["label"] != 0).sum()), "groups_in_both_splits": len(shared)}
    figures |= {f"{split}_images": index.loc[index["split"] == split, "image_id"].nunique() for split in groups.index}
    rows = len(index) == open_array(normals.path / "proxies", "pixels").shape[0]
    return not figures["abnormal_tiles"] and not shared and rows, {**figures, "rows_aligned": rows}


def proxy_values(tiles: Version, proxies: Version) -> tuple[bool, dict[str, Any]]:
    """There is a proxy for every tile, neutral where there is no data, and within the tile's range of values.

    The channel of edges is black or white instead.
    """
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
