"""Images of a manifest cut into 256x256 tiles by a canonical form, kept as sharded zarr arrays and an index table.

Legend: N tiles, C channels, L lesion kinds. A tiles store holds ``pixels`` (N, C, 256, 256), ``validity``
(N, 256, 256; codes NO_DATA, SEEN, SCORED), ``lesions`` (N, L, 256, 256; 0 or 1; absent where L is 0), all uint8,
``index.parquet`` (one row a tile), ``quarantine.parquet`` (path, reason) of images the form refused, and
``carry.json``: what the next version can take over.

Row numbers are known only once every image has been tried, so the work has two passes: images that the current
version does not know are cut into part files, then all rows are laid out shard by shard, out of parts and of the
current version. Both passes run on dask threads, in bounded memory, and resume after a kill where they stopped.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import zarr
from numpy.typing import NDArray

from pipeline.data.datasets import Dataset
from pipeline.data.raw import RawFolder
from pipeline.errors import ConfigError, DatasetUnusable
from pipeline.forms.form import TILE, Form
from pipeline.store.increments import MADE, Block, Earlier, Record, earlier_version, fill_block, plan_blocks, recipe
from pipeline.store.shards import content_version, create, run_tasks
from pipeline.store.versions import Store, Version, fingerprint, write_file
from pipeline.tiles.cutting import Cuts, Cutter, Outcome, source_key

PLACE = ("slot", "canvas", "canvas_row", "canvas_col", "transform", "offset_row", "offset_col", "scored_fraction")
"""Columns of the index that the image's content decides; all others but ``tile`` come from the manifest."""
_log = logging.getLogger(__name__)


VERSION = "1"
"""Raise it when a change of the step's code changes its result; part of the asset's code version."""


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


@dataclass(frozen=True, kw_only=True)
class Rows:
    """All rows of the new version, in manifest and slot order."""

    index: list[dict[str, Any]]
    origins: list[int]  # row of the earlier version, or MADE
    refused: list[dict[str, str]]  # path and reason
    sources: dict[str, tuple[int, int] | str]  # for the record of the new version


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
    """Cut the images of the manifest, in its order, and publish ``<dataset>/tiles``.

    Images that the current version knows by content are not cut again. Images that cannot be read or that the form
    refuses go to the quarantine table. Raises ``DatasetUnusable`` where no image is left or a file is not what the
    manifest says, ``ConfigError`` where ``form`` is not the configured one. ``workers`` is the number of threads.
    """
    if form.name != config.form:
        raise ConfigError(f"form: expected {config.form!r} as configured, got {form.name!r}")
    asset, lesions = f"{dataset.name}/tiles", tuple(dataset.lesions)
    key = fingerprint(images.data_version, form.name, form.version, config, list(lesions), code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        manifest = _image_rows(images)
        earlier = earlier_version(store, asset, recipe(form.name, form.version, form.neutral, lesions, code_version))
        unknown = [image for image in manifest if source_key(image) not in earlier.record.sources]
        title = f"{asset}: cut {len(unknown)} of {len(manifest)} images"
        _log.info("%s, the others are taken over from %s", title, earlier.folder or "no earlier version")
        cutter = Cutter(raw=raw, form=form, lesions=lesions, parts=work / "parts")
        cuts = cutter.cut(unknown, title=title, progress=progress, workers=workers)
        rows = _rows(manifest, earlier, cuts)
        if not rows.index:
            reasons = "; ".join(f"{entry['path']}: {entry['reason']}" for entry in rows.refused[:3])
            raise DatasetUnusable(f"{asset}: the form {form.name} accepted none of {len(manifest)} images ({reasons})")
        content, names = work / "content", ["pixels", "validity", *(["lesions"] if lesions else [])]
        facts = _facts(form, lesions, cuts, earlier if any(row != MADE for row in rows.origins) else None)
        _lay_out(content, len(rows.index), facts, config)
        blocks = plan_blocks(rows.origins, earlier, content, names, config.shard)
        store_block = partial(
            fill_block,
            earlier=earlier.folder,
            folder=content,
            records=work / "shards",
            names=names,
            make=partial(_cut_rows, cuts),
        )
        hashes = run_tasks(store_block, blocks, title=f"{asset}: store", progress=progress, workers=workers)
        digests = [digest for shard in hashes for digest in shard]
        _write_tables(content, rows)
        Record(recipe=earlier.record.recipe, sources=rows.sources, digests=digests).write(content)
        data_version = content_version([row[-1] for row in digests], facts, rows.index, rows.refused)
        counts = {"tiles": len(digests), "images": len({row["image_id"] for row in rows.index})}
        counts["quarantined"] = len(rows.refused)
        return store.publish(asset, content, data_version, {**counts, "form": form.name, "form_version": form.version})


def _image_rows(images: Version) -> list[dict[str, Any]]:
    """Rows of the manifest in its order; raises ``ValueError`` where an image stands in it twice."""
    table = pd.read_parquet(images.path / "images.parquet")
    twice = table.loc[table["image_id"].duplicated(keep=False), "path"].tolist()
    if twice:
        raise ValueError(f"{images.asset} {images.data_version}: expected each image once, got twice: {twice[:4]}")
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _rows(manifest: list[dict[str, Any]], earlier: Earlier, cuts: Cuts) -> Rows:
    """Rows of all images: places of known ones from the earlier version's index, of the others as they were cut."""
    rows = Rows(index=[], origins=[], refused=[], sources={})
    fresh = iter(cuts.outcomes)
    for image, known in zip(manifest, _known(manifest, earlier), strict=True):
        outcome, origin = known if known is not None else (next(fresh), MADE)
        source = source_key(image)
        if outcome.reason:
            rows.refused.append({"path": image["path"], "reason": outcome.reason})
            if outcome.lasting:
                rows.sources[source] = outcome.reason
            continue
        rows.sources[source] = (len(rows.index), len(outcome.places))
        for number, place in enumerate(outcome.places):
            row = {"image_id": image["image_id"], **{name: place[name] for name in PLACE[:4]}}
            row |= {"split": image["split"], "label": int(image["label"]), "klass": image["klass"]}
            row |= {"group": image["group"], **{name: place[name] for name in PLACE[4:]}}
            rows.index.append(row)
            rows.origins.append(MADE if origin == MADE else origin + number)
    return rows


def _known(manifest: list[dict[str, Any]], earlier: Earlier) -> Iterator[tuple[Outcome, int] | None]:
    """For each image what it gave in the earlier version, and its first row there; None where it is not known."""
    table = None if earlier.folder is None else pd.read_parquet(earlier.folder / "index.parquet", columns=list(PLACE))
    places: list[dict[str, Any]] = [] if table is None else table.to_dict("records")  # type: ignore[assignment]
    for image in manifest:
        match earlier.record.sources.get(source_key(image)):
            case None:
                yield None
            case str(reason):
                yield Outcome(reason=reason), MADE
            case (first, count):
                yield Outcome(places=places[first : first + count]), first


def _facts(form: Form, lesions: Sequence[str], cuts: Cuts, earlier: Earlier | None) -> dict[str, Any]:
    """What readers find as the group's attributes; raises ``ValueError`` where channels differ between images."""
    channels = set(cuts.channels)
    if earlier is not None and earlier.folder is not None:
        channels.add(int(str(zarr.open_group(earlier.folder, mode="r").attrs["channels"])))
    if len(channels) != 1:
        raise ValueError(f"{form.name}: expected one number of channels for all images, got {sorted(channels)}")
    facts = {"form": form.name, "form_version": form.version, "neutral": form.neutral, "lesions": list(lesions)}
    facts["canvases"] = {name: list(grid) for name, grid in form.canvases.items()}
    return {**facts, "channels": channels.pop()}


def _lay_out(content: Path, count: int, facts: dict[str, Any], config: TilesConfig) -> None:
    """Create the empty arrays, unless an earlier run did."""
    marker = content.parent / "laid-out"
    if marker.is_file():
        return
    group = zarr.open_group(content, mode="w", attributes=facts)
    shapes = {"pixels": (facts["channels"], TILE, TILE), "validity": (TILE, TILE)}
    if facts["lesions"]:
        shapes["lesions"] = (len(facts["lesions"]), TILE, TILE)
    for name, shape in shapes.items():
        create(group, name, (count, *shape), shard=config.shard, level=config.level)
    write_file(marker, b"")


def _cut_rows(cuts: Cuts, block: Block) -> dict[str, NDArray[Any]]:
    """The rows of a block that were cut."""
    return cuts.rows(block.made_before, block.made_before + int(block.new.sum()))


def _write_tables(content: Path, rows: Rows) -> None:
    index = pd.DataFrame([{"tile": number, **row} for number, row in enumerate(rows.index)]).astype({"label": "int8"})
    index.to_parquet(content / "index.parquet", index=False)
    quarantine = pd.DataFrame(rows.refused, columns=["path", "reason"], dtype=str)
    quarantine.to_parquet(content / "quarantine.parquet", index=False)
