"""The benchmark's runs by data set and method, and each method's difference to ProxyAno."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.metrics import Difference, of_resamples, paired_difference
from pipeline.evaluation.records import Record
from pipeline.evaluation.saved import LaneEvaluation, load_evaluation
from pipeline.evaluation.score_name import PRIMARY, kind_of
from pipeline.reports.kit.paper import LEVELS
from pipeline.reports.kit.runs import Run, corrected, made
from pipeline.store.versions import Version

OWN = "proxyano"
"""The method that all others are compared with."""
UNDEFINED = Difference(math.nan, math.nan, math.nan, math.nan)


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
        return LEVELS.get(self.key, "image")

    @cached_property
    def measured(self) -> Mapping[str, Sequence[Run]]:
        """Method → its existing runs, the lowest seed first; methods without any are left out."""
        every = {method: made(run for run in self.runs if run.method == method) for method in self._labels}
        return {method: runs for method, runs in every.items() if runs}

    @property
    def not_run(self) -> Mapping[str, str]:
        """Method without an existing run → its label."""
        return {method: label for method, label in self._labels.items() if method not in self.measured}

    @property
    def _labels(self) -> Mapping[str, str]:
        return {run.method: run.label for run in self.runs}

    @cached_property
    def beside(self) -> list[Record]:
        """Records of controls and shortcuts: the main lane's, or without one those of ProxyAno's first run."""
        if self.lane is not None:
            return self.lane.records
        own = self.measured.get(OWN, ())
        return [record for run in own[:1] for record in run.lane.records if kind_of(record["method"]) != "method"]

    @cached_property
    def differences(self) -> Mapping[str, Difference]:
        """Method → its AUROC minus ProxyAno's at the same seed, p corrected for the number of methods (Holm)."""
        own = {run.seed: run for run in self.measured.get(OWN, ())}
        shared = {
            method: next((run for run in runs if run.seed in own), None)
            for method, runs in self.measured.items()
            if method != OWN
        }
        return corrected({m: self._difference(own[run.seed], run) for m, run in shared.items() if run is not None})

    def _difference(self, own: Run, other: Run) -> Difference:
        columns = (f"{own.method}:{PRIMARY}", f"{other.method}:{PRIMARY}")
        if self.level == "pixel":
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


def gather(runs: Sequence[Run], lanes: Mapping[str, Version | None]) -> list[DataSet]:
    """Runs by data set, in their order; ``lanes``: data set → the main lane's evaluation, None where there is none."""
    held = {key: load_evaluation(version.path) for key, version in lanes.items() if version is not None}
    titles = {run.dataset: run.title for run in runs}
    return [
        DataSet(key=key, title=title, runs=[run for run in runs if run.dataset == key], lane=held.get(key))
        for key, title in titles.items()
    ]
