"""Proxy images of all tiles, aligned with their rows: what stage 1 learns to predict (paper, III-B).

Legend: N tiles, C channels, K of the proxy. A proxies store holds ``pixels`` (N, K, 256, 256) uint8; where the tile has
NO_DATA, the proxy holds the tiles' neutral value.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from pipeline.forms.form import NO_DATA, TILE
from pipeline.store.increments import MADE, Block, Record, earlier_version, fill_block, plan_blocks, recipe
from pipeline.store.shards import content_version, create, open_array, rows_at, run_tasks
from pipeline.store.versions import Store, Version, fingerprint, write_file
from pipeline.tiles.loading import read_neutral, shrink
from pipeline.tiles.proxy_kinds import PROXIES, ProxyConfig

_log = logging.getLogger(__name__)


VERSION = "1"
"""Raise it when a change of the step's code changes its result; part of the asset's code version."""


def build_proxies(
    tiles: Version,
    config: ProxyConfig,
    store: Store,
    *,
    code_version: str,
    asset: str = "",
    scheduler_address: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Version:
    """Compute the proxy of every tile, a task a shard, and publish ``asset``; without a name ``<dataset>/proxies``.

    Proxies of tiles that the current version knows by content are taken over from it. Runs on dask threads
    (``workers``; None: one a core), or on the cluster at ``scheduler_address``, whose workers must see the store's
    folder. Finished shards survive a kill. The result does not depend on where it ran.
    """
    asset = asset or f"{tiles.asset.rpartition('/')[0]}/proxies"
    about = config.to_json()
    key = fingerprint(tiles.data_version, about, code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        source, neutral = open_array(tiles.path, "pixels"), read_neutral(tiles.path)
        content = work / "content"
        shape = (source.shape[0], config.channels(source.shape[1]), TILE, TILE)
        _lay_out(content, source, shape, {**about, "neutral": neutral})
        earlier = earlier_version(store, asset, recipe(about, neutral, code_version))
        seen = tile_keys(tiles)
        origins = [earlier.first_row(tile) for tile in seen] or [MADE] * source.shape[0]
        title = f"{asset}: {origins.count(MADE)} of {len(origins)} tiles"
        _log.info("%s, the others are taken over from %s", title, earlier.folder or "no earlier version")
        hashes = run_tasks(
            partial(
                fill_block,
                earlier=earlier.folder,
                folder=content,
                records=work / "shards",
                names=["pixels"],
                make=partial(make_proxies, tiles=tiles.path, config=config),
            ),
            plan_blocks(origins, earlier, content, ["pixels"], source.shards[0] if source.shards else 1),
            title=title,
            progress=progress,
            workers=workers,
            scheduler_address=scheduler_address,
        )
        digests = [digest for shard in hashes for digest in shard]
        if seen:
            sources = {tile: (row, 1) for row, tile in enumerate(seen)}
            Record(recipe=earlier.record.recipe, sources=sources, digests=digests).write(content)
        data_version = content_version([row[-1] for row in digests], about, list(shape))
        return store.publish(asset, content, data_version, {"tiles": len(digests), **about})


def tile_keys(tiles: Version) -> list[str]:
    """Hash of every tile's pixels and validity, which decide its proxy; none for a version without a record."""
    record = Record.read(tiles.path)
    return [] if record is None else [row[1] for row in record.digests]


def make_proxies(block: Block, *, tiles: Path, config: ProxyConfig) -> dict[str, NDArray[np.uint8]]:
    """Proxies of the new rows of ``block``, from the tiles store in folder ``tiles``."""
    rows = block.start + np.flatnonzero(block.new)
    pixels = rows_at(open_array(tiles, "pixels"), rows)
    validity = rows_at(open_array(tiles, "validity"), rows)
    neutral = read_neutral(tiles)
    made = zip(pixels, validity, _sizes(tiles, rows, config), strict=True)
    return {"pixels": np.stack([proxy_at(tile, valid, neutral, config, size) for tile, valid, size in made])}


def _sizes(tiles: Path, rows: NDArray[np.integer], config: ProxyConfig) -> list[tuple[int, int]]:
    """Rows and columns that the proxy of each tile is made at."""
    if not config.sizes:
        return [(TILE, TILE)] * len(rows)
    canvases = pd.read_parquet(tiles / "index.parquet", columns=["canvas"])["canvas"]
    return [config.sizes.get(str(canvas), (TILE, TILE)) for canvas in canvases.to_numpy()[rows]]


def proxy_at(
    pixels: NDArray[np.uint8], validity: NDArray[np.uint8], neutral: int, config: ProxyConfig, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Proxy (K, 256, 256) of a tile (C, 256, 256), made at ``size`` and enlarged by whole px.

    Sampled down again as ``load_tiles`` does, it is the very proxy that was made at that size.
    """
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
    proxy = PROXIES[config.kind](picture, valid, config)
    proxy = proxy[None] if proxy.ndim == 2 else np.moveaxis(proxy, -1, 0)
    levels = np.rint(np.clip(proxy, 0, 1) * 255).astype(np.uint8)
    return np.where(valid, levels, np.uint8(neutral))


def _lay_out(content: Path, source: zarr.Array[Any], shape: tuple[int, ...], facts: dict[str, Any]) -> None:
    marker = content.parent / "laid-out"
    if marker.is_file():
        return
    group = zarr.open_group(content, mode="w", attributes=facts)
    shard = source.shards[0] if source.shards else 1
    create(group, "pixels", shape, shard=shard, level=1)
    write_file(marker, b"")
