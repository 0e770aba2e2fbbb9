"""Proxy images of all tiles, row by row: what stage 1 learns to predict (paper, III-B).

A store holds ``pixels`` (N, K, 256, 256) uint8, with the tiles' neutral value wherever the tile has NO_DATA.
"""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.forms.form import NO_DATA, TILE
from pipeline.store.increments import NEW, Record, build_arrays, previous_record
from pipeline.store.shards import content_version, open_array, rows_at, shard_rows
from pipeline.store.versions import Store, Version, fingerprint
from pipeline.tiles.loading import read_neutral, shrink
from pipeline.tiles.proxy_kinds import PROXIES, ProxyConfig

VERSION = "1"  # raise it when a change of the step's code changes its result; part of the asset's code version
_log = logging.getLogger(__name__)


def build_proxies(
    tiles: Version,
    config: ProxyConfig,
    store: Store,
    *,
    code_version: str,
    asset: str = "",
    scheduler_address: str | None = None,
    workers: int | None = None,
) -> Version:
    """Compute the proxy of every tile, one task per shard, and publish ``asset`` (default: ``<dataset>/proxies``).

    Proxies of known tiles are copied; finished shards survive a kill. Runs on ``workers`` threads (None: one per core)
    or on the cluster at ``scheduler_address``, whose workers must see the store's folder, unless the store is shared
    through a bucket; the result is the same.
    """
    asset = asset or f"{tiles.asset.rpartition('/')[0]}/proxies"
    about = config.to_json()
    key = fingerprint(tiles.data_version, about, code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        source, neutral = open_array(tiles.path, "pixels"), read_neutral(tiles.path)
        shape = (source.shape[0], config.channels(source.shape[1]), TILE, TILE)
        record = previous_record(store, asset, about, neutral, code_version)
        cut = Record.read(tiles.path)
        keys = [] if cut is None else [row[1] for row in cut.digests]  # pixels and validity, which decide a proxy
        previous = [record.first_row(tile) for tile in keys] or [NEW] * source.shape[0]
        title = f"{asset}: {previous.count(NEW)} of {len(previous)} tiles"
        _log.info("%s; the others are copied from %s", title, record.folder or "no previous version")
        digests, copied = build_arrays(
            store,
            work,
            {"pixels": shape},
            {**about, "neutral": neutral},
            shard=shard_rows(source),
            level=1,
            record=record,
            previous=previous,
            make=partial(make_proxies, tiles=tiles.path, config=config),
            title=title,
            workers=workers,
            scheduler_address=scheduler_address,
        )
        if keys:
            sources = {tile: (row, 1) for row, tile in enumerate(keys)}
            Record(recipe=record.recipe, sources=sources, digests=digests).write(work / "content")
        data_version = content_version([row[-1] for row in digests], about, list(shape))
        return store.publish(asset, work / "content", data_version, {"tiles": len(digests), **about}, copied)


def make_proxies(rows: NDArray[np.integer], *, tiles: Path, config: ProxyConfig) -> dict[str, NDArray[np.uint8]]:
    """Proxies of ``rows`` of the tiles store in folder ``tiles``."""
    pixels, validity = (rows_at(open_array(tiles, name), rows) for name in ("pixels", "validity"))
    neutral, sizes = read_neutral(tiles), [(TILE, TILE)] * len(rows)
    if config.sizes:
        canvases = pd.read_parquet(tiles / "index.parquet", columns=["canvas"])["canvas"].to_numpy()[rows]
        sizes = [config.sizes.get(str(canvas), (TILE, TILE)) for canvas in canvases]
    made = zip(pixels, validity, sizes, strict=True)
    return {"pixels": np.stack([proxy_at(tile, valid, neutral, config, size) for tile, valid, size in made])}


def proxy_at(
    pixels: NDArray[np.uint8], validity: NDArray[np.uint8], neutral: int, config: ProxyConfig, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Proxy (K, 256, 256) of a tile (C, 256, 256), made at ``size``; ``load_tiles`` at that size gives it back."""
    if size == validity.shape:
        return proxy_of(pixels, validity != NO_DATA, neutral, config)
    codes, small = shrink(validity[None], [pixels[None]], size, neutral)
    proxy = proxy_of(small[0], codes[0] != NO_DATA, neutral, config.at_size(size))
    whole = proxy.repeat(validity.shape[0] // size[0], axis=1).repeat(validity.shape[1] // size[1], axis=2)
    return np.where(validity != NO_DATA, whole, np.uint8(neutral))


def proxy_of(
    pixels: NDArray[np.uint8], valid: NDArray[np.bool_], neutral: int, config: ProxyConfig
) -> NDArray[np.uint8]:
    """Proxy (K, H, W) uint8 of one tile (C, H, W) uint8; ``neutral`` where not ``valid`` (H, W)."""
    if not valid.any():
        return np.full((config.channels(len(pixels)), *valid.shape), neutral, np.uint8)
    tile = np.where(valid, pixels, np.uint8(neutral)).astype(np.float32) / 255
    picture = tile[0] if len(tile) == 1 else np.ascontiguousarray(np.moveaxis(tile, 0, -1))
    proxy = np.rint(np.clip(PROXIES[config.kind].make(picture, valid, config), 0, 1) * 255).astype(np.uint8)
    return np.where(valid, proxy[None] if proxy.ndim == 2 else np.moveaxis(proxy, -1, 0), np.uint8(neutral))
