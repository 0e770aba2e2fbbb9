"""``<dataset>/normals``: what training reads, the tiles and proxies of training and validation normals.

A version is a tiles store of these rows alone, with their proxies in ``proxies/``. Its data version is made of the
rows, so a new, changed or removed test image leaves it as it is, and everything that is trained or fitted on it.
"""

from dataclasses import replace
from pathlib import Path

import zarr
from tqdm import tqdm

from pipeline.data.splits import check_enough
from pipeline.errors import DatasetUnusable
from pipeline.store.shards import content_version, create, open_array, row_blocks, row_digests, shard_rows, write_rows
from pipeline.store.versions import Store, Version, fingerprint
from pipeline.tiles.loading import read_index, read_neutral, read_rows

SPLITS = ("train", "val")
DECIDING = ["image_id", "split", "group", "canvas", "canvas_row", "canvas_col", "offset_row", "offset_col"]
"""Columns of the index that training or statistics of normals depend on."""

VERSION = "1"
"""Raise it when a change of the step's code changes its result; part of the asset's code version."""


def build_normals(tiles: Version, proxies: Version, store: Store, *, code_version: str) -> Version:
    """Copy the rows of training and validation normals and publish ``<dataset>/normals``.

    ``DatasetUnusable`` if one of these splits holds an abnormal image, or too few normals.
    """
    asset = f"{tiles.asset.rpartition('/')[0]}/normals"
    key = fingerprint(tiles.data_version, proxies.data_version, code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        index = read_index(tiles)
        index = index[index["split"].isin(SPLITS)].reset_index(drop=True)
        if index["label"].any():
            raise DatasetUnusable(f"{tiles.asset}: splits train and val hold abnormal images; training takes normals")
        check_enough(index.drop_duplicates("image_id"), tiles.asset)
        content, rows = work / "content", index["tile"].to_numpy()
        targets = _create(content, tiles, proxies, len(rows))
        digests: list[str] = []
        for start, stop in tqdm(row_blocks(len(rows), shard_rows(targets[0])), desc=asset, unit="shard", leave=False):
            part = rows[start:stop]
            blocks = (
                read_rows(tiles, "pixels", part),
                read_rows(tiles, "validity", part),
                read_rows(proxies, "pixels", part),
            )
            for target, block in zip(targets, blocks, strict=True):
                write_rows(target, start, block)
            digests += [row[-1] for row in row_digests(*blocks)]
        index.assign(tile=range(len(index))).to_parquet(content / "index.parquet", index=False)
        listed = (
            index[[*DECIDING, *index.columns.intersection(["volume"])]]
            .astype({"offset_row": float, "offset_col": float})
            .to_dict("split")["data"]
        )
        version = content_version(digests, listed, read_neutral(tiles.path))
        counts = index.drop_duplicates("image_id")["split"].value_counts()
        return store.publish(
            asset, content, version, {f"{split} images": int(counts.get(split, 0)) for split in SPLITS}
        )


def proxies_of(normals: Version) -> Version:
    """The proxies of the normals, row by row."""
    return replace(normals, path=normals.path / "proxies")


def _create(content: Path, tiles: Version, proxies: Version, count: int) -> list["zarr.Array"]:  # type: ignore[type-arg]
    neutral, targets = read_neutral(tiles.path), []
    for folder, source, name in (
        (content, tiles, "pixels"),
        (content, tiles, "validity"),
        (content / "proxies", proxies, "pixels"),
    ):
        array = open_array(source.path, name)
        group = zarr.open_group(folder, mode="a", attributes={"neutral": neutral})
        create(group, name, (count, *array.shape[1:]), shard=shard_rows(array), level=1)
        targets.append(open_array(folder, name, "r+"))
    return targets
