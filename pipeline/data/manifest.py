"""From a download to ``<dataset>/images``: every image read once to its end, identified by its content, in one split.

A file that cannot be used goes to the quarantine with the reason.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.data.datasets import Dataset
from pipeline.data.duplicates import duplicate_groups
from pipeline.data.layouts import Candidate
from pipeline.data.raw import RawFolder
from pipeline.data.raw import fingerprint as raw_fingerprint
from pipeline.data.reading import Found, Problem, Reading, read_files
from pipeline.data.reading_on_workers import read_on_workers
from pipeline.data.splits import SPLITS, UNUSED, ImagesConfig, check_enough
from pipeline.data.volumes import count_volumes
from pipeline.data.walk import kind_of
from pipeline.errors import DatasetUnusable
from pipeline.store.files import write_file
from pipeline.store.versions import Store, Version, fingerprint

VERSION = "4"  # raise it when a change of the step's code changes its result; part of the asset's code version

FEW = 5  # files named in an error
Read = Callable[[Sequence[Candidate]], list[Found]]

OF_VOLUMES = {"volume": str, "slice": "int32", "gray_values": str}
"""Columns where there are volumes: series or file of two slices or more (else empty), number in the file, changes."""

IMAGES = pa.DataFrameSchema(
    {
        "image_id": pa.Column(str, pa.Check.str_matches(r"^[0-9a-f]{16}$"), unique=True),
        "path": pa.Column(str, unique=True),
        "sha256": pa.Column(str, pa.Check.str_matches(r"^[0-9a-f]{64}$"), unique=True),
        "label": pa.Column("int8", pa.Check.isin([0, 1])),
        "klass": pa.Column(str),
        "group": pa.Column(str, pa.Check.str_length(min_value=1)),
        "split": pa.Column(str, pa.Check.isin([*SPLITS, UNUSED])),
        "width": pa.Column("int32", pa.Check.gt(0)),  # px
        "height": pa.Column("int32", pa.Check.gt(0)),  # px
        "bytes": pa.Column("int64", pa.Check.gt(0)),
        "source": pa.Column(str),
        "masks": pa.Column(str),  # JSON: lesion name → path
        "masks_sha256": pa.Column(str),  # of the masks' contents in that order; empty where there are none
        **{name: pa.Column(kind, required=False) for name, kind in OF_VOLUMES.items()},
    },
    checks=[
        pa.Check(lambda t: (t["label"] == 0) == (t["klass"] == "normal"), error="label 0 is exactly the class normal"),
        pa.Check(lambda t: t["image_id"] == t["sha256"].str[:16], error="image_id is the start of sha256"),
        pa.Check(
            lambda t: (t["label"] == 0) | t.split.isin(["test", UNUSED]), error="abnormal images are only in test"
        ),
    ],
    coerce=True,
    strict=True,
    ordered=True,
)
"""One row for each image, sorted by split and path."""

QUARANTINE = pa.DataFrameSchema({"path": pa.Column(str), "reason": pa.Column(str)}, strict=True, ordered=True)
"""One row for each unusable file, with the reason; an image with an unusable mask is listed beside its mask."""


def build_manifest(
    raw: RawFolder,
    dataset: Dataset,
    config: ImagesConfig,
    store: Store,
    *,
    source_version: str | None = None,
    code_version: str = "1",
    progress: bool = False,
    scheduler_address: str | None = None,
) -> Version:
    """Publish ``<dataset>/images``; raises ``DatasetUnusable`` where no image of a described kind is usable.

    Workers of the cluster at ``scheduler_address`` read the files if the ``store`` is shared through a bucket.
    """
    asset = f"{dataset.name}/images"
    source = source_version or raw_fingerprint(raw)
    key = fingerprint(source, config, list(dataset.decides), code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        read = None
        if scheduler_address is not None and store.shared:
            read = partial(read_on_workers, raw, dataset, store, work, scheduler_address)
        images, quarantine, counts = make_manifest(raw, dataset, config, read=read, progress=progress)
        (content := work / "content").mkdir(exist_ok=True)
        images.to_parquet(content / "images.parquet", index=False)
        quarantine.to_parquet(content / "quarantine.parquet", index=False)
        write_file(content / "counts.json", json.dumps(counts, indent=1).encode())
        version = content_version(images, quarantine, counts)
        return store.publish(asset, content, version, {"counts": counts, "source_version": source})


def content_version(images: pd.DataFrame, quarantine: pd.DataFrame, counts: Mapping[str, Any]) -> str:
    """Data version of a manifest by its content; files that were passed over are no part of it."""
    counted = {name: value for name, value in counts.items() if name != "passed_over"}
    return fingerprint(images.to_dict("list"), quarantine.to_dict("list"), counted)


def passed_over(raw: RawFolder, candidates: Sequence[Candidate]) -> dict[str, int]:
    """Number of files by kind that were not looked at, or that have no place in the layout."""
    used = (set(raw.odd) | raw.labels).union(*([item.path, *item.masks.values()] for item in candidates))
    outside = Counter(f"{kind_of(path)} outside the layout" for path in raw.paths() if path not in used)
    return dict(sorted((raw.passed + outside).items()))


def make_manifest(
    raw: RawFolder, dataset: Dataset, config: ImagesConfig, *, read: Read | None = None, progress: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """The tables of images and of the quarantine, and the counts, without publishing them; ``read`` reads the files."""
    candidates = dataset.scan(raw)
    if not candidates:
        got = f"{len(raw.paths())} other files" if raw.paths() else "no image or label file at all"
        broken = "".join(f"\nand {name}: {reason}" for name, reason in [*raw.broken.items(), *raw.odd.items()][:FEW])
        raise DatasetUnusable(
            f"{dataset.name}: no image of {dataset.title} found in {raw.root}, got {got}{broken}\n{dataset.wanted}"
        )
    results = (read or partial(read_files, raw, dataset, progress=progress))(candidates)
    readings, repeated = _unique([reading for found, _ in results for reading in found])
    unusable = [problem for _, refused in results for problem in refused]
    problems = [*raw.broken.items(), *raw.odd.items(), *unusable, *repeated]
    labels = {reading.row["label"] for reading in readings}
    for label, kind in ((0, "normal"), (1, "abnormal")):
        if label not in labels and (label == 0 or dataset.judged):
            reasons = "".join(f"\n  {path}: {reason}" for path, reason in problems[:FEW])
            raise DatasetUnusable(
                f"{dataset.name}: no usable {kind} image in {raw.root}; {len(readings)} others are usable, "
                f"{len(problems)} files are not{':' if reasons else ''}{reasons}\n{dataset.wanted}"
            )

    def alike(places: Sequence[int]) -> NDArray[np.int64]:
        looks = [look for place in places if (look := readings[place].look) is not None]
        if not looks:
            return np.arange(len(places))
        return duplicate_groups(looks, progress=progress, rule=dataset.duplicates)

    rows = pd.DataFrame([reading.row for reading in readings])
    placed = dataset.split(rows, config, config.shares or dataset.shares, alike)
    rows = rows.assign(group=placed["group"], split=placed["split"])
    check_enough(rows, dataset.name)
    rows["volume"] = rows["volume"].where(rows["volume"].duplicated(keep=False), "")
    several = (rows["volume"] != "").any()
    columns = [name for name in IMAGES.columns if several or name not in OF_VOLUMES]
    images = rows[columns].sort_values(["split", "path"], ignore_index=True)
    quarantine = pd.DataFrame(sorted(problems), columns=["path", "reason"], dtype=str)
    counts = _count(dataset, config, candidates, rows, len(quarantine))
    if several:
        counts["volumes"] = count_volumes(rows, quarantine)
    counts["passed_over"] = passed_over(raw, candidates)
    if progress and counts["passed_over"]:
        told = ", ".join(f"{n} {kind}" for kind, n in counts["passed_over"].items())
        tqdm.write(f"{dataset.name}: passed over: {told}", file=sys.stderr)
    return IMAGES.validate(images), QUARANTINE.validate(quarantine), counts


def _unique(readings: list[Reading]) -> tuple[list[Reading], list[Problem]]:
    """One reading for each content: the first by path, or none where it is labelled both normal and abnormal."""
    by_content: dict[str, list[Reading]] = {}
    for reading in sorted(readings, key=lambda reading: str(reading.row["path"])):
        by_content.setdefault(reading.row["sha256"], []).append(reading)
    kept, problems = [], []
    for same in by_content.values():
        paths = [reading.row["path"] for reading in same]
        if len({reading.row["label"] for reading in same}) > 1:
            text = "conflicting labels, normal and abnormal: same content as "
            problems += [(path, text + next(other for other in paths if other != path)) for path in paths]
        else:
            kept.append(same[0])
            problems += [(path, f"same content as {paths[0]}") for path in paths[1:]]
    return kept, problems


def _count(
    dataset: Dataset, config: ImagesConfig, candidates: Sequence[Candidate], rows: pd.DataFrame, quarantined: int
) -> dict[str, Any]:
    """Images found beside those of the official set, and images and groups of each split."""
    there = Counter((item.part, item.klass) for item in candidates)
    usable = Counter(zip(rows["part"], rows["klass"], strict=True))
    splits_of_group = rows[rows["split"] != UNUSED].groupby("group")["split"].nunique()
    return {
        "parts": {
            part: {
                klass: {"there": there[part, klass], "usable": usable[part, klass], "official": official}
                for klass, official in classes.items()
            }
            for part, classes in dataset.official.items()
        },
        "splits": {
            str(split): {str(k): int(n) for k, n in part["klass"].value_counts().sort_index().items()}
            for split, part in rows.groupby("split")
        },
        "groups": {str(split): int(n) for split, n in rows.groupby("split")["group"].nunique().items()},
        "quarantined": quarantined,
        "protocol": config.protocol,
        "leaking": bool((splits_of_group > 1).any()),
        "leaking_groups": int((splits_of_group > 1).sum()),
    }


def read_manifest(version: Version) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Images, quarantine and counts of a published version."""
    images, quarantine = (pd.read_parquet(version.path / f"{name}.parquet") for name in ("images", "quarantine"))
    return images, quarantine, json.loads((version.path / "counts.json").read_text())
