"""Single runs of the benchmark and the ablations, as their reports read them."""

import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from models.metrics import Difference, holm, of_resamples, paired_difference
from pipeline.evaluation.layers import RESAMPLES
from pipeline.evaluation.records import Record, find
from pipeline.evaluation.saved import LaneEvaluation, load_evaluation
from pipeline.evaluation.score_name import PRIMARY
from pipeline.store.versions import Version

SURE = 0.05  # largest corrected p at which two runs count as different
UNDEFINED = Difference(math.nan, math.nan, math.nan, math.nan)
K = TypeVar("K", bound=Hashable)
D = TypeVar("D", bound=Difference)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One trained and scored method, or one that is still missing."""

    dataset: str
    title: str  # of the data set
    name: str  # unique within the data set
    method: str  # key of METHODS
    label: str  # shown in the report
    seed: int
    version: Version | None  # its evaluation; None: not run
    raw: bool = False  # whether the canonical form is off

    @property
    def folder(self) -> Path:
        """Folder of the stored evaluation; ValueError where the run is missing."""
        if self.version is None:
            raise ValueError(f"{self.dataset} {self.name} has not been run")
        return self.version.path

    @cached_property
    def lane(self) -> LaneEvaluation:
        """The stored evaluation."""
        return load_evaluation(self.folder)

    @property
    def test(self) -> pd.DataFrame:
        """Scores of the test images."""
        scores = self.lane.scores
        return scores[scores["split"] == "test"]

    @cached_property
    def resamples(self) -> Mapping[str, list[float | None]]:
        """Bootstrap AUROCs of the pixel scores, by score column."""
        return dict(json.loads((self.folder / RESAMPLES).read_text()))

    def record(self, level: str, metric: str, score: str = PRIMARY, subset: str = "all") -> Record | None:
        """The method's record; None where it was not measured."""
        wanted = {"level": level, "metric": metric, "score": score, "subset": subset, "method": self.method}
        return next(reversed(find(self.lane.records, **wanted)), None)

    def value(self, level: str, metric: str, score: str = PRIMARY, subset: str = "all") -> float | None:
        """The value of that record."""
        record = self.record(level, metric, score, subset)
        return None if record is None else float(record["value"])


def paired(own: Run, other: Run, level: str) -> Difference:
    """Primary AUROC of the other run minus that of the first; undefined where a level or a class is missing.

    ValueError where their test images differ.
    """
    columns = f"{own.method}:{PRIMARY}", f"{other.method}:{PRIMARY}"
    if level == "pixel":
        values = own.value("pixel", "auroc"), other.value("pixel", "auroc")
        if values[0] is None or values[1] is None:
            return UNDEFINED
        drawn = own.resamples.get(columns[0], []), other.resamples.get(columns[1], [])
        return of_resamples(values[1] - values[0], np.array(drawn[0], float), np.array(drawn[1], float))
    if own.test["image_id"].tolist() != other.test["image_id"].tolist():
        raise ValueError(f"{other.dataset} {other.name}: scored other images than {own.name} has")
    labels, groups = own.test["label"].to_numpy(), own.test["group"].to_numpy()
    if len(set(labels)) < 2:
        return UNDEFINED
    scores = own.test[columns[0]].to_numpy(float), other.test[columns[1]].to_numpy(float)
    return paired_difference(labels, *scores, groups, rng=np.random.default_rng(0))


def made(runs: Iterable[Run]) -> list[Run]:
    """The runs that exist, the lowest seed first."""
    return sorted((run for run in runs if run.version is not None), key=lambda run: run.seed)


def on_sample(measured: Mapping[str, Sequence[Run]]) -> bool:
    """Whether the images are those of the built-in sample."""
    return any(run.lane.about("drawn") for runs in measured.values() for run in runs)


def versions_of(runs: Iterable[Run]) -> dict[str, str | None]:
    """``<dataset>/<name>`` → data version, None where the run is missing."""
    return {f"{run.dataset}/{run.name}": run.version.data_version if run.version else None for run in runs}


def corrected(differences: Mapping[K, D]) -> dict[K, D]:
    """The differences with p corrected for their number (Holm)."""
    p = holm({repr(key): found.p for key, found in differences.items()})
    return {key: replace(found, p=p[repr(key)]) for key, found in differences.items()}
