"""Cut the images of a manifest into 256x256 tiles of a canonical form: sharded zarr arrays and an index table.

A tiles store holds ``pixels`` (N, C, 256, 256), ``validity`` (N, 256, 256; codes NO_DATA, SEEN, SCORED), ``lesions``
(N, L, 256, 256; 0 or 1; absent if L is 0), all uint8, ``index.parquet`` (one row per tile), ``quarantine.parquet``
(path and reason of refused images), and ``carry.json`` (see ``store.increments``).

Row numbers are known only after every image has been tried. So a build first cuts new images into part files, then
writes all rows, shard by shard, from the parts and the current version. It resumes after a kill.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.data.datasets import Dataset
from pipeline.data.raw import RawFolder
from pipeline.errors import ConfigError, DatasetUnusable
from pipeline.forms.form import TILE, Form
from pipeline.store.increments import NEW, Record, build_arrays, previous_record
from pipeline.store.shards import content_version
from pipeline.store.versions import Store, Version, fingerprint
from pipeline.tiles.cutting import PLACE, CutResult, Cuts, Cutter, source_key

VERSION = "3"  # raise it when a change of the step's code changes its result; part of the asset's code version
MANIFEST: Sequence[str] = ("split", "label", "klass", "group", "volume")  # columns of the manifest in the index
_log = logging.getLogger(__name__)
Table = list[dict[str, Any]]
Sources = dict[str, tuple[int, int] | str]


@dataclass(frozen=True, kw_only=True)
class TilesConfig:
    """How tiles are made and stored."""

    form: str  # name of the canonical form, a key of FORMS
    shard: int = 128  # tiles per shard, at least 1
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
    scheduler_address: str | None = None,
) -> Version:
    """Cut the images of the manifest, in its order, and publish ``<dataset>/tiles``.

    Images whose content the current version holds are not cut again; unreadable and refused ones go to the quarantine.
    ``form`` is the configured one. Runs on ``workers`` threads (None: one per core), or on the cluster at
    ``scheduler_address`` if the store is shared through a bucket; the result is the same. Raises ``DatasetUnusable`` if
    no image is left or a file differs from the manifest.
    """
    asset, lesions = f"{dataset.name}/tiles", tuple(dataset.lesions)
    key = fingerprint(images.data_version, form.name, form.version, config, list(lesions), code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        table = pd.read_parquet(images.path / "images.parquet")
        manifest = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
        record = previous_record(store, asset, form.name, form.version, form.neutral, lesions, code_version)
        keys = [source_key(image) for image in manifest]
        unknown = [image for image, key in zip(manifest, keys, strict=True) if key not in record.sources]
        title = f"{asset}: cut {len(unknown)} of {len(manifest)} images"
        _log.info("%s; the others are copied from %s", title, record.folder or "no previous version")
        cutter = Cutter(raw=raw, form=form, lesions=lesions, parts=work / "parts")
        cuts = cutter.cut(unknown, store, title=title, workers=workers, scheduler_address=scheduler_address)
        index, previous, refused, sources = _rows(manifest, keys, record, cuts)
        if not index:
            reasons = "; ".join(f"{entry['path']}: {entry['reason']}" for entry in refused[:3])
            raise DatasetUnusable(f"{asset}: the form {form.name} accepted none of {len(manifest)} images ({reasons})")
        facts = {"form": form.name, "form_version": form.version, "neutral": form.neutral, "lesions": list(lesions)}
        facts |= {"canvases": {name: list(grid) for name, grid in form.canvases.items()}, "channels": form.channels}
        leads = {"pixels": (form.channels,), "validity": ()} | ({"lesions": (len(lesions),)} if lesions else {})
        place = np.cumsum(np.equal(previous, NEW)) - 1  # of a new row among all new rows
        digests, copied = build_arrays(
            store,
            work,
            {name: (len(index), *lead, TILE, TILE) for name, lead in leads.items()},
            facts,
            shard=config.shard,
            level=config.level,
            record=record,
            previous=previous,
            make=lambda rows: cuts.rows(int(place[rows[0]]), int(place[rows[-1]]) + 1),
            title=f"{asset}: store",
            workers=workers,
        )
        tiles = pd.DataFrame(index).astype({"label": "int8"})
        tiles.insert(0, "tile", range(len(index)))
        tiles.to_parquet(work / "content" / "index.parquet", index=False)
        quarantine = pd.DataFrame(refused, columns=["path", "reason"], dtype=str)
        quarantine.to_parquet(work / "content" / "quarantine.parquet", index=False)
        Record(recipe=record.recipe, sources=sources, digests=digests).write(work / "content")
        data_version = content_version([row[-1] for row in digests], facts, index, refused)
        counts = {"tiles": len(digests), "images": len({row["image_id"] for row in index})}
        meta = {**counts, "quarantined": len(refused), "form": form.name, "form_version": form.version}
        return store.publish(asset, work / "content", data_version, meta, copied)


def _rows(
    manifest: list[dict[str, Any]], keys: list[str], record: Record, cuts: Cuts
) -> tuple[Table, list[int], Table, Sources]:
    """Rows of all images in manifest and slot order, their numbers in the previous version (or ``NEW``), the path and
    reason of refused images, and what the record of the new version says of each source, named by ``keys``."""
    index, previous, refused, sources = Table(), list[int](), Table(), Sources()
    for image, source, (result, first) in zip(manifest, keys, _results(keys, record, cuts), strict=True):
        if result.reason:
            refused.append({"path": image["path"], "reason": result.reason})
            if result.lasting:
                sources[source] = result.reason
            continue
        sources[source] = (len(index), len(result.places))
        known = {name: image[name] for name in MANIFEST if name in image}
        for number, place in enumerate(result.places):
            grid, content = ({name: place[name] for name in names} for names in (PLACE[:4], PLACE[4:]))
            index.append({"image_id": image["image_id"], **grid, **known, **content})
            previous.append(NEW if first == NEW else first + number)
    return index, previous, refused, sources


def _results(keys: list[str], record: Record, cuts: Cuts) -> Iterator[tuple[CutResult, int]]:
    """What each image gave, in this build or in the previous version, and its first row there (or ``NEW``)."""
    places: list[Any] = []
    if record.folder is not None:
        places = pd.read_parquet(record.folder / "index.parquet", columns=list(PLACE)).to_dict("records")
    fresh = iter(cuts.results)
    for key in keys:
        match record.sources.get(key):
            case None:
                yield next(fresh), NEW
            case str(reason):
                yield CutResult(reason=reason), NEW
            case (first, count):
                yield CutResult(places=places[first : first + count]), first
