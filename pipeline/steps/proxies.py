"""Proxy images of all tiles, aligned with their rows: what stage 1 learns to predict (paper, III-B).

Legend: N tiles, C channels. A proxies store holds ``pixels`` (N, C, 256, 256) uint8; where the tile has NO_DATA, the
proxy holds the tiles' neutral value.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from skimage.segmentation import slic

from pipeline.steps.canonical.form import NO_DATA, TILE
from pipeline.steps.carry import MADE, Block, Record, earlier_version, fill_block, plan_blocks, recipe
from pipeline.steps.errors import ConfigError
from pipeline.steps.loading import read_neutral
from pipeline.steps.shards import content_version, create, open_array, rows_at, run_tasks
from pipeline.steps.store import Store, Version, fingerprint, write_file

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """Which proxy, and its parameters; all of them are recorded with the proxies."""

    kind: str = "slic"  # a key of PROXIES
    segments: int = 800  # superpixels asked for on a 256x256 tile, at least 1 (paper, IV-A: 800)
    compactness: float = 0.1  # weight of distance against intensity in [0, 1], above 0; not stated in the paper
    iterations: int = 5  # k-means steps, at least 1; 5 explains as much variance as 10

    def __post_init__(self) -> None:
        if self.kind not in PROXIES:
            raise ConfigError(f"kind: expected one of {sorted(PROXIES)}, got {self.kind!r}")
        if self.segments < 1 or self.iterations < 1:
            got = f"{self.segments} and {self.iterations}"
            raise ConfigError(f"segments and iterations: expected at least 1 of each, got {got}")
        if not self.compactness > 0:
            raise ConfigError(f"compactness: expected a number above 0, got {self.compactness}")


def superpixel_image(tile: NDArray[np.floating], valid: NDArray[np.bool_], config: ProxyConfig) -> NDArray[np.floating]:
    """Each pixel replaced by the mean of its SLIC superpixel, taken over the superpixel's valid pixels (Eq. 1).

    Tile (H, W) or (H, W, C) in [0, 1], ``valid`` (H, W); superpixels without a valid pixel keep the tile's values.
    Colours are compared as they are, not in Lab, so that compactness means the same for one and three channels.
    """
    labels = slic(
        tile,
        n_segments=config.segments,
        compactness=config.compactness,
        max_num_iter=config.iterations,
        enforce_connectivity=True,
        convert2lab=False,
        start_label=0,
        channel_axis=None if tile.ndim == 2 else -1,
    )
    return segment_means(tile, labels, valid)


def segment_means(
    tile: NDArray[np.floating], labels: NDArray[np.integer], valid: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """Mean over the valid pixels of each segment, painted on the whole segment; ``labels`` (H, W) from 0."""
    flat = labels.ravel()
    inside = valid.ravel()
    counts = np.bincount(flat[inside], minlength=int(flat.max()) + 1)
    channels = tile.reshape(flat.size, -1)
    painted = channels.copy()
    held = counts[flat] > 0
    for channel in range(channels.shape[1]):
        sums = np.bincount(flat[inside], weights=channels[inside, channel], minlength=len(counts))
        means = sums / np.maximum(counts, 1)
        painted[held, channel] = means[flat[held]]
    return painted.reshape(tile.shape)


PROXIES: dict[str, Callable[[NDArray[np.floating], NDArray[np.bool_], ProxyConfig], NDArray[np.floating]]] = {
    "slic": superpixel_image,
}
"""Kind → function of (tile (H, W) or (H, W, C) in [0, 1], valid (H, W), config) giving the same shape in [0, 1]."""


def build_proxies(
    tiles: Version,
    config: ProxyConfig,
    store: Store,
    *,
    code_version: str,
    scheduler_address: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Version:
    """Compute the proxy of every tile, a task a shard, and publish ``<dataset>/proxies``.

    Proxies of tiles that the current version knows by content are taken over from it. Runs on dask threads
    (``workers``; None: one a core), or on the cluster at ``scheduler_address``, whose workers must see the store's
    folder. Finished shards survive a kill. The result does not depend on where it ran.
    """
    asset = f"{tiles.asset.rpartition('/')[0]}/proxies"
    key = fingerprint(tiles.data_version, config, code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        source, neutral = open_array(tiles.path, "pixels"), read_neutral(tiles.path)
        content = work / "content"
        _lay_out(content, source, {**asdict(config), "neutral": neutral})
        earlier = earlier_version(store, asset, recipe(config, neutral, code_version))
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
        data_version = content_version([row[-1] for row in digests], asdict(config), list(source.shape))
        return store.publish(asset, content, data_version, {"tiles": len(digests), **asdict(config)})


def tile_keys(tiles: Version) -> list[str]:
    """Hash of every tile's pixels and validity, which decide its proxy; none for a version without a record."""
    record = Record.read(tiles.path)
    return [] if record is None else [row[1] for row in record.digests]


def make_proxies(block: Block, *, tiles: Path, config: ProxyConfig) -> dict[str, NDArray[np.uint8]]:
    """Proxies of the new rows of ``block``, from the tiles store in folder ``tiles``."""
    rows = block.start + np.flatnonzero(block.new)
    pixels = rows_at(open_array(tiles, "pixels"), rows)
    seen = rows_at(open_array(tiles, "validity"), rows) != NO_DATA
    neutral = read_neutral(tiles)
    return {"pixels": np.stack([proxy_of(*pair, neutral, config) for pair in zip(pixels, seen, strict=True)])}


def proxy_of(
    pixels: NDArray[np.uint8], valid: NDArray[np.bool_], neutral: int, config: ProxyConfig
) -> NDArray[np.uint8]:
    """Proxy (C, H, W) uint8 of one tile (C, H, W) uint8; ``neutral`` where not ``valid`` (H, W)."""
    if not valid.any():
        return np.full_like(pixels, neutral)
    tile = np.where(valid, pixels, np.uint8(neutral)).astype(np.float32) / 255
    picture = tile[0] if len(tile) == 1 else np.ascontiguousarray(np.moveaxis(tile, 0, -1))
    proxy = PROXIES[config.kind](picture, valid, config)
    proxy = proxy[None] if len(tile) == 1 else np.moveaxis(proxy, -1, 0)
    levels = np.rint(np.clip(proxy, 0, 1) * 255).astype(np.uint8)
    return np.where(valid, levels, np.uint8(neutral))


def _lay_out(content: Path, source: zarr.Array[Any], facts: dict[str, Any]) -> None:
    marker = content.parent / "laid-out"
    if marker.is_file():
        return
    group = zarr.open_group(content, mode="w", attributes=facts)
    shard = source.shards[0] if source.shards else 1
    create(group, "pixels", (source.shape[0], source.shape[1], TILE, TILE), shard=shard, level=1)
    write_file(marker, b"")
