"""The folder that holds one lane's evaluation: what it contains, and how it is written and read.

records.json   list of records (``records.RECORD_KEYS``)
scores.parquet image scores (image_id, split, label, klass, group, path, ``<method>:<score>``…)
curves.json    pixel curves: score name → subset → fpr, tpr, recall, precision lists
panels/*.png   pictures of cases, listed with captions in panels.json
summary.json   what was evaluated: ``SUMMARY_NEEDED`` and any of ``SUMMARY_DEFAULTS``
pictures.parquet  thumbnails and layers for the page (``layers``); not for evaluations of the benchmark
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import REMEDY, StoreCorrupt
from pipeline.evaluation.records import RECORD_KEYS, Record, score_columns

Curves = Mapping[str, Mapping[str, Mapping[str, list[float]]]]

SUMMARY_DEFAULTS: Mapping[str, Any] = {
    "drawn": False,  # whether the images are those of the built-in sample
    "counts": {},  # what → images here
    "official_counts": {},  # what → images in the official set
    "quarantine": [],  # [{path, reason}]
    "passed_over": {},  # kind of file → how many of the raw folder were not looked at
    "volumes": [],  # rows of ``volumes.volume_rows``
    "volumes_by": "",  # score column of those rows
    "pretrained": [],  # names in records of what uses weights that were trained on other images
    "volume_counts": {},  # of the manifest
    "config": {},
    "versions": {},  # asset → data version
    "mlflow": {},  # stage → link
    "minutes": {},  # stage → minutes
    "peak_memory_gib": None,
    "thresholds": {},  # score → label-free threshold
    "leaking": False,  # the split is the paper's random one, so that duplicates may lie on both sides
    "notes": [],
    "model_card": "",  # markdown
    "images_per_second": None,  # of the method, without loading
    # only runs of the benchmark and the ablations have the rest
    "label": "",  # the method's name in reports
    "entry": "",  # name of the run
    "parameters": None,
    "train_minutes": None,
    "last_gain": {},  # canvas → stage → share by which the last quarter of the steps lowered the validation loss
    "budget": {},  # canvas → stage → steps
    "batch_size": {},  # canvas → images
    "learning_rate": {},  # canvas → stage → highest rate
}
PICTURE_COLUMNS = ("image_id", "canvas", "layer", "kind", "data")
"""Columns of the pictures' table; ``data`` holds a file's bytes."""
NO_PICTURES = pd.DataFrame(columns=list(PICTURE_COLUMNS))
PICTURES = "pictures.parquet"
THUMBNAIL = "thumbnail"  # layer of the small picture that every scored image has
SUMMARY_NEEDED = ("dataset", "title", "preset", "method", "seed")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A picture of one case with its caption; ``png`` holds the file's bytes."""

    file: str
    caption: str
    png: bytes


@dataclass(frozen=True, kw_only=True)
class LaneEvaluation:
    """Everything the report shows of one data set."""

    records: list[Record]
    scores: pd.DataFrame
    curves: Curves = field(default_factory=dict)
    panels: Sequence[Panel] = ()
    pictures: pd.DataFrame = field(default_factory=NO_PICTURES.copy)
    summary: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Check keys once, so that the pages can rely on them."""
        missing = [key for key in SUMMARY_NEEDED if key not in self.summary]
        unknown = sorted(set(self.summary) - set(SUMMARY_NEEDED) - set(SUMMARY_DEFAULTS))
        if missing or unknown:
            raise ValueError(f"evaluation summary: keys missing {missing}, unknown {unknown}")
        for record in self.records:
            if tuple(record) != RECORD_KEYS:
                raise ValueError(f"a record has the keys {RECORD_KEYS}, got {tuple(record)}")
        if not self.records:
            raise ValueError(f"the evaluation of {self.summary['dataset']!r} holds no record")
        if tuple(self.pictures.columns) != PICTURE_COLUMNS:
            raise ValueError(f"pictures have the columns {PICTURE_COLUMNS}, got {tuple(self.pictures.columns)}")
        score_columns(self.scores)

    @property
    def dataset(self) -> str:
        """Key of the data set."""
        return str(self.summary["dataset"])

    def about(self, key: str) -> Any:
        """A field of the summary, or its default."""
        return self.summary.get(key, SUMMARY_DEFAULTS.get(key))


def write_evaluation(folder: Path, **fields: Any) -> LaneEvaluation:
    """Write a ``LaneEvaluation`` of these fields into ``folder`` (made if missing); same input, same bytes."""
    lane = LaneEvaluation(**fields)
    (folder / "panels").mkdir(parents=True, exist_ok=True)
    for panel in lane.panels:
        (folder / "panels" / panel.file).write_bytes(panel.png)
    lane.scores.to_parquet(folder / "scores.parquet", index=False)
    if len(lane.pictures):
        lane.pictures.to_parquet(folder / PICTURES, index=False)
    listed = [{"file": panel.file, "caption": panel.caption} for panel in lane.panels]
    parts = {"records": lane.records, "curves": lane.curves, "panels": listed, "summary": dict(lane.summary)}
    for name, part in parts.items():
        (folder / f"{name}.json").write_text(json.dumps(part, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return lane


def load_evaluation(folder: Path) -> LaneEvaluation:
    """Read what ``write_evaluation`` wrote; StoreCorrupt names the file that is missing or unreadable."""
    try:
        parts = {
            name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("records", "curves", "panels", "summary")
        }
        parts["panels"] = [
            Panel(**entry, png=(folder / "panels" / entry["file"]).read_bytes()) for entry in parts["panels"]
        ]
        parts["scores"] = pd.read_parquet(folder / "scores.parquet")
        parts["pictures"] = pd.read_parquet(folder / PICTURES) if (folder / PICTURES).is_file() else NO_PICTURES
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise StoreCorrupt(f"{folder} is no complete evaluation: {error}{REMEDY}") from error
    return LaneEvaluation(**parts)
