"""Images of a manifest cut into 256x256 tiles by a canonical form, kept as sharded zarr arrays and an index table.

Legend: N tiles, C channels, L lesion kinds. A tiles store holds ``pixels`` (N, C, 256, 256), ``validity``
(N, 256, 256; codes NO_DATA, SEEN, SCORED), ``lesions`` (N, L, 256, 256; 0 or 1; absent where L is 0), all uint8,
``index.parquet`` (one row a tile) and ``quarantine.parquet`` (path, reason) of images the form refused.

Row numbers are known only once every image has been tried, so the work has two passes: images are cut batch by batch
into part files, then the parts are laid out shard by shard. Both passes run on dask threads, in bounded memory, and
resume after a kill where they stopped.
"""

import io
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from numcodecs import Zstd  # type: ignore[import-untyped]
from numpy.typing import NDArray

from pipeline.steps import raw as raw_files
from pipeline.steps.canonical.form import NO_DATA, SCORED, TILE, Form, SlotTile, slots
from pipeline.steps.datasets import Dataset
from pipeline.steps.errors import ConfigError, DatasetUnusable, UnusableImage
from pipeline.steps.raw import RawFolder
from pipeline.steps.shards import content_version, create, fill_shard, row_blocks, run_tasks
from pipeline.steps.store import Store, Version, fingerprint, write_file

BATCH = 8
"""Images cut by one task: what a kill can cost; no part of the result."""


@dataclass(frozen=True, kw_only=True)
class TilesConfig:
    """How tiles are made and kept."""

    form: str  # name of the canonical form, a key of FORMS
    shard: int = 128  # tiles a shard, at least 1
    level: int = 1  # zstd level, 1 to 22

    def __post_init__(self) -> None:
        if self.shard < 1:
            raise ConfigError(f"shard: expected at least 1 tile, got {self.shard}")
        if not 1 <= self.level <= 22:
            raise ConfigError(f"level: expected a zstd level from 1 to 22, got {self.level}")


def build_tiles(
    images: Version,
    raw: RawFolder,
    dataset: Dataset,
    form: Form,
    config: TilesConfig,
    store: Store,
    *,
    code_version: str,
    workers: int | None = None,
    progress: bool = True,
) -> Version:
    """Cut every image of the manifest, in its order, and publish ``<dataset>/tiles``.

    Images that cannot be read or that the form refuses go to the quarantine table. Raises ``DatasetUnusable`` where
    no image is left, ``ConfigError`` where ``form`` is not the configured one. ``workers`` is the number of threads.
    """
    if form.name != config.form:
        raise ConfigError(f"form: expected {config.form!r} as configured, got {form.name!r}")
    asset = f"{dataset.name}/tiles"
    key = fingerprint(images.data_version, form.name, form.version, config, list(dataset.lesions), code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        manifest = _image_rows(images)
        _ = raw.sizes  # list the folder once, before the threads ask
        cutter = Cutter(raw=raw, form=form, lesions=tuple(dataset.lesions), parts=work / "parts")
        batches = [
            (number, manifest[start : start + BATCH]) for number, start in enumerate(range(0, len(manifest), BATCH))
        ]
        heads = run_tasks(cutter.cut_batch, batches, title=f"{asset}: cut", progress=progress, workers=workers)
        rows = [row for head in heads for row in head["rows"]]
        refused = [entry for head in heads for entry in head["refused"]]
        if not rows:
            reasons = "; ".join(f"{entry['path']}: {entry['reason']}" for entry in refused[:3])
            raise DatasetUnusable(f"{asset}: the form {form.name} accepted none of {len(manifest)} images ({reasons})")
        content = work / "content"
        facts = _lay_out(content, heads, cutter, config)
        ends = np.cumsum([len(head["rows"]) for head in heads])
        assemble = partial(_assemble, parts=cutter.parts, ends=ends, folder=content, records=work / "shards")
        blocks = row_blocks(len(rows), config.shard)
        hashes = run_tasks(assemble, blocks, title=f"{asset}: store", progress=progress, workers=workers)
        _write_tables(content, rows, refused)
        data_version = content_version([digest for shard in hashes for digest in shard], facts, rows, refused)
        counts = {"tiles": len(rows), "images": len({row["image_id"] for row in rows}), "quarantined": len(refused)}
        return store.publish(asset, content, data_version, {**counts, "form": form.name, "form_version": form.version})


@dataclass(frozen=True, kw_only=True)
class Cutter:
    """Cuts batches of images into part files below ``parts``."""

    raw: RawFolder
    form: Form
    lesions: tuple[str, ...]
    parts: Path

    def cut_batch(self, batch: tuple[int, list[dict[str, Any]]]) -> dict[str, Any]:
        """Cut one batch of manifest rows into its part file, unless it is there already; the part's head."""
        number, images = batch
        path = self.parts / f"{number:07d}.part"
        if path.is_file():
            return read_head(path)
        cut: list[SlotTile] = []
        head: dict[str, Any] = {"rows": [], "refused": []}
        for image in images:
            try:
                tiles = self.cut_image(image)
            except UnusableImage as error:
                head["refused"].append({"path": image["path"], "reason": str(error)})
                continue
            head["rows"] += self._rows(image, tiles)
            cut += tiles
        head["channels"] = sorted({tile.pixels.shape[0] for tile in cut})
        write_file(path, _pack(head, _stack(cut, len(self.lesions), self.form.neutral)))
        return head

    def cut_image(self, image: dict[str, Any]) -> tuple[SlotTile, ...]:
        """Tiles of one manifest row in slot order; raises ``UnusableImage``, ``ValueError`` for a form's mistake."""
        pixels = raw_files.read_image(self.raw, image["path"])
        shape = (pixels.shape[0], pixels.shape[1])
        paths = json.loads(image["masks"]) if image["masks"] else {}
        masks = {
            lesion: raw_files.read_mask(self.raw, paths[lesion], shape) if lesion in paths else np.zeros(shape, bool)
            for lesion in self.lesions
        }
        tiles = self.form.cut(pixels, masks)
        expected = [slot.name for slot in slots(self.form.canvases)]
        if [tile.slot for tile in tiles] != expected:
            raise ValueError(f"{self.form.name}: expected slots {expected}, got {[tile.slot for tile in tiles]}")
        for tile in tiles:
            _check_shapes(tile, len(self.lesions), self.form.name)
        return tiles

    def _rows(self, image: dict[str, Any], tiles: tuple[SlotTile, ...]) -> list[dict[str, Any]]:
        rows = []
        for slot, tile in zip(slots(self.form.canvases), tiles, strict=True):
            row = {"image_id": image["image_id"], "slot": slot.name, "canvas": slot.canvas}
            row |= {"canvas_row": slot.row, "canvas_col": slot.col, "split": image["split"]}
            row |= {"label": int(image["label"]), "klass": image["klass"], "group": image["group"]}
            row |= {"transform": tile.transform.to_json(), "offset_row": float(tile.offset[0])}
            row |= {"offset_col": float(tile.offset[1]), "scored_fraction": float((tile.validity == SCORED).mean())}
            rows.append(row)
        return rows


def _image_rows(images: Version) -> list[dict[str, Any]]:
    """Rows of the manifest in its order; raises ``ValueError`` where an image stands in it twice."""
    table = pd.read_parquet(images.path / "images.parquet")
    twice = table.loc[table["image_id"].duplicated(keep=False), "path"].tolist()
    if twice:
        raise ValueError(f"{images.asset} {images.data_version}: expected each image once, got twice: {twice[:4]}")
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def read_head(part: Path) -> dict[str, Any]:
    """Index rows, refused images and channel counts of a part file."""
    head: dict[str, Any] = json.loads(_unpack(part)["head"].tobytes())
    return head


def _lay_out(content: Path, heads: list[dict[str, Any]], cutter: Cutter, config: TilesConfig) -> dict[str, Any]:
    """Create the empty arrays, unless an earlier run did; the facts that readers find as the group's attributes."""
    form, lesions = cutter.form, cutter.lesions
    channels = sorted({count for head in heads for count in head["channels"]})
    if len(channels) != 1:
        raise ValueError(f"{form.name}: expected one number of channels for all images, got {channels}")
    facts: dict[str, Any] = {
        "form": form.name,
        "form_version": form.version,
        "neutral": form.neutral,
        "lesions": list(lesions),
    }
    facts["canvases"] = {name: list(grid) for name, grid in form.canvases.items()}
    facts["channels"] = channels[0]
    marker = content.parent / "laid-out"
    if not marker.is_file():
        count = sum(len(head["rows"]) for head in heads)
        group = zarr.open_group(content, mode="w", attributes=facts)
        create(group, "pixels", (count, channels[0], TILE, TILE), shard=config.shard, level=config.level)
        create(group, "validity", (count, TILE, TILE), shard=config.shard, level=config.level)
        if lesions:
            create(group, "lesions", (count, len(lesions), TILE, TILE), shard=config.shard, level=config.level)
        write_file(marker, b"")
    return facts


def _write_tables(content: Path, rows: list[dict[str, Any]], refused: list[dict[str, str]]) -> None:
    index = pd.DataFrame([{"tile": number, **row} for number, row in enumerate(rows)]).astype({"label": "int8"})
    index.to_parquet(content / "index.parquet", index=False)
    quarantine = pd.DataFrame(refused, columns=["path", "reason"], dtype=str)
    quarantine.to_parquet(content / "quarantine.parquet", index=False)


def _assemble(
    block: tuple[int, int], *, parts: Path, ends: NDArray[np.int64], folder: Path, records: Path
) -> list[str]:
    """Rows ``block`` of the store out of the parts that hold them; ``ends`` is the last row + 1 of each part."""
    start, stop = block

    def make() -> dict[str, NDArray[np.uint8]]:
        first, last = np.searchsorted(ends, [start, stop - 1], side="right")
        base = int(ends[first - 1]) if first else 0
        pieces = [_unpack(parts / f"{number:07d}.part") for number in range(int(first), int(last) + 1)]
        pieces = [piece for piece in pieces if len(piece["pixels"])]
        names = [name for name in ("pixels", "validity", "lesions") if name in pieces[0]]
        return {name: np.concatenate([piece[name] for piece in pieces])[start - base : stop - base] for name in names}

    return fill_shard(folder, records, start, stop, make=make)


def _check_shapes(tile: SlotTile, lesions: int, form: str) -> None:
    shapes = (tile.pixels.shape[1:], tile.validity.shape, tile.lesions.shape)
    expected = ((TILE, TILE), (TILE, TILE), (lesions, TILE, TILE))
    if shapes != expected or tile.pixels.dtype != np.uint8:
        raise ValueError(f"{form}, slot {tile.slot}: expected uint8 of shapes {expected}, got {shapes}")


def _stack(cut: list[SlotTile], lesions: int, neutral: int) -> dict[str, NDArray[np.uint8]]:
    """Arrays of a part; NO_DATA pixels are set to ``neutral``, whatever the form left there."""
    if not cut:
        return {"pixels": np.zeros((0, 1, TILE, TILE), np.uint8), "validity": np.zeros((0, TILE, TILE), np.uint8)}
    validity = np.stack([tile.validity for tile in cut]).astype(np.uint8)
    pixels = np.stack([tile.pixels for tile in cut])
    arrays = {"pixels": np.where((validity == NO_DATA)[:, None], np.uint8(neutral), pixels), "validity": validity}
    if lesions:
        arrays["lesions"] = np.stack([tile.lesions for tile in cut]).astype(np.uint8)
    return arrays


def _pack(head: dict[str, Any], arrays: dict[str, NDArray[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    return bytes(Zstd(level=1).encode(buffer.getvalue()))


def _unpack(part: Path) -> dict[str, NDArray[np.uint8]]:
    with np.load(io.BytesIO(Zstd().decode(part.read_bytes())), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
