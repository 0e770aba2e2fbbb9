"""The runs of the benchmark as the report reads them: by data set and method, made or not."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from models.comparison import Difference, holm, of_resamples, paired_difference
from pipeline.evaluation.pictures.gallery import RESAMPLES
from pipeline.evaluation.records import PRIMARY, Record, find, kind
from pipeline.evaluation.saved import LaneEvaluation, load_evaluation
from pipeline.reports.kit.verdict import PAPER
from pipeline.store.versions import Version

OWN = "proxyano"
"""The method that all others are tested against."""

OWN_SCORE = {"image": "latent", "pixel": "residual"}
"""Level → score that is each paper's own (a method without an image score in latent space repeats its own one)."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the benchmark, made or not."""

    dataset: str
    title: str  # of the data set, for people
    name: str  # unique within the data set
    method: str  # key of METHODS
    label: str  # for people
    seed: int
    version: Version | None  # its evaluation; None = not run


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A run with its evaluation."""

    run: Run
    lane: LaneEvaluation
    folder: Path

    def record(self, level: str, metric: str, score: str = PRIMARY) -> Record | None:
        """Record of the method over all images of a level; None where it was not measured."""
        wanted = {"level": level, "metric": metric, "score": score, "subset": "all", "method": self.run.method}
        return next(iter(find(self.lane.records, **wanted)), None)

    def value(self, level: str, metric: str, score: str = PRIMARY) -> float | None:
        """The same as a number."""
        record = self.record(level, metric, score)
        return None if record is None else float(record["value"])

    @cached_property
    def resamples(self) -> Mapping[str, list[float | None]]:
        """Bootstrap AUROCs of the pixel scores."""
        found: Mapping[str, list[float | None]] = json.loads((self.folder / RESAMPLES).read_text())
        return found


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """All runs on one data set; ``lane``: the main lane's evaluation, with controls and ProxyAno at its own budget."""

    key: str
    title: str
    runs: Sequence[Run]
    lane: LaneEvaluation | None

    @property
    def level(self) -> str:
        """``image``, or ``pixel`` where the paper judges pixels."""
        return PAPER[self.key].level if self.key in PAPER else "image"

    @cached_property
    def measured(self) -> Mapping[str, Sequence[Measured]]:
        """Method → its runs that were made, the lowest seed first; in the benchmark's order."""
        found: dict[str, list[Measured]] = {}
        for run in sorted(self.runs, key=lambda run: run.seed):
            if run.version is not None:
                lane = load_evaluation(run.version.path)
                found.setdefault(run.method, []).append(Measured(run=run, lane=lane, folder=run.version.path))
        order = list(dict.fromkeys(run.method for run in self.runs))
        return dict(sorted(found.items(), key=lambda pair: order.index(pair[0])))

    @cached_property
    def not_run(self) -> Sequence[Run]:
        """The first run of every method that has none that was made."""
        first = {run.method: run for run in sorted(self.runs, key=lambda run: -run.seed)}
        return [run for method, run in first.items() if method not in self.measured]

    @property
    def labels(self) -> Mapping[str, str]:
        """Method → its name for people."""
        return {run.method: run.label for run in self.runs}

    @property
    def beside(self) -> Sequence[Record]:
        """Records of controls and shortcuts: the main lane's, or where there is none those of ProxyAno's run."""
        if self.lane is not None:
            return self.lane.records
        own = self.measured.get(OWN, ())
        return [record for one in own[:1] for record in one.lane.records if kind(record["method"]) != "method"]

    @cached_property
    def differences(self) -> Mapping[str, Difference]:
        """Method → its AUROC minus ProxyAno's at the same seed, p corrected for the number of methods (Holm)."""
        own = {one.run.seed: one for one in self.measured.get(OWN, ())}
        raw = {}
        for method, runs in self.measured.items():
            pairs = [(own[one.run.seed], one) for one in runs if one.run.seed in own]
            if method != OWN and pairs:
                raw[method] = self._difference(*pairs[0])
        corrected = holm({method: found.p for method, found in raw.items()})
        return {m: Difference(d.value, d.low, d.high, corrected[m]) for m, d in raw.items()}

    def _difference(self, own: Measured, other: Measured) -> Difference:
        columns = [f"{one.run.method}:{PRIMARY}" for one in (own, other)]
        if self.level == "pixel":
            values = [one.value("pixel", "auroc") for one in (own, other)]
            drawn = [
                np.array(one.resamples.get(name, []), float) for one, name in zip((own, other), columns, strict=True)
            ]
            if values[0] is None or values[1] is None:
                return Difference(*[float("nan")] * 4)
            return of_resamples(values[1] - values[0], *drawn)
        tables = [one.lane.scores[one.lane.scores["split"] == "test"] for one in (own, other)]
        if tables[0]["image_id"].tolist() != tables[1]["image_id"].tolist():
            raise ValueError(f"{other.run.dataset} {other.run.name}: scored other images than {own.run.name} has")
        scores = [table[name].to_numpy(float) for table, name in zip(tables, columns, strict=True)]
        if tables[0]["label"].nunique() < 2:
            return Difference(*[float("nan")] * 4)
        groups = tables[0]["group"].to_numpy()
        labels = tables[0]["label"].to_numpy()
        return paired_difference(labels, scores[0], scores[1], groups, rng=np.random.default_rng(0))


def gather(runs: Sequence[Run], lanes: Mapping[str, Version | None]) -> list[DataSet]:
    """Runs by data set, in their order."""
    held = {key: None if version is None else load_evaluation(version.path) for key, version in lanes.items()}
    keys = list(dict.fromkeys(run.dataset for run in runs))
    return [
        DataSet(
            key=key,
            title=next(run.title for run in runs if run.dataset == key),
            runs=[run for run in runs if run.dataset == key],
            lane=held.get(key),
        )
        for key in keys
    ]
