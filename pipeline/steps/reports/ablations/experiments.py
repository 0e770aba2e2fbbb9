"""The experiments as the report reads them: by data set, made or not, with paired differences between two."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from models.comparison import Difference, holm, paired_difference
from pipeline.steps.reports.ablations.paper import PRINTED, Printed
from pipeline.steps.reports.benchmark.runs import Measured, Run
from pipeline.steps.reports.lanes import load_evaluation
from pipeline.steps.reports.records import Record

Pair = tuple[str, str]
"""Names of two experiments: (better, worse), or (row, neighbour)."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment, made or not."""

    run: Run
    score: str  # it is judged by
    against: str  # its neighbour
    change: str  # what it changes against it, found from both configurations


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """All experiments on one data set."""

    key: str
    title: str
    source: str  # data set whose tables of the paper apply
    rows: Mapping[str, Experiment]
    found: dict[Pair, Difference] = field(default_factory=dict, compare=False)  # differences that are known already

    @cached_property
    def measured(self) -> Mapping[str, Measured]:
        """Those that were made."""
        versions = {name: row.run.version for name, row in self.rows.items()}
        return {
            name: Measured(run=self.rows[name].run, lane=load_evaluation(version.path), folder=version.path)
            for name, version in versions.items()
            if version is not None
        }

    @property
    def printed(self) -> Sequence[Printed]:
        """The paper's tables and figures of which at least half the experiments are rows here."""
        own = [one for one in PRINTED if one.dataset == self.source]
        return [one for one in own if 2 * sum(entry.name in self.rows for entry in one.entries) >= len(one.entries)]

    def record(self, name: str, score: str = "") -> Record | None:
        """AUROC of an experiment by its own score, or another; None where it was not made."""
        measured = self.measured.get(name)
        return None if measured is None else measured.record("image", "auroc", score or self.rows[name].score)

    def difference(self, pair: Pair) -> Difference | None:
        """AUROC of the first minus that of the second, each by its own score; None where one was not made."""
        if any(name not in self.measured for name in pair):
            return None
        if pair not in self.found:
            self.found[pair] = self._paired(pair)
        return self.found[pair]

    def corrected(self, pairs: Iterable[Pair]) -> dict[Pair, Difference]:
        """The differences of those pairs that were made, p corrected for their number (Holm)."""
        raw = {pair: d for pair in dict.fromkeys(pairs) if (d := self.difference(pair)) is not None}
        names = {" ".join(pair): pair for pair in raw}
        p = holm({name: raw[pair].p for name, pair in names.items()})
        return {pair: Difference(*_bounds(raw[pair]), p[name]) for name, pair in names.items()}

    def _paired(self, pair: Pair) -> Difference:
        first, second = (self.measured[name] for name in pair)
        tables = [one.lane.scores[one.lane.scores["split"] == "test"] for one in (first, second)]
        if tables[0]["image_id"].tolist() != tables[1]["image_id"].tolist():
            raise ValueError(f"{self.key}: {pair[0]} scored other images than {pair[1]}; make both again")
        if tables[0]["label"].nunique() < 2:
            return Difference(*[float("nan")] * 4)
        columns = [f"{self.measured[name].run.method}:{self.rows[name].score}" for name in pair]
        own, other = (table[column].to_numpy(float) for table, column in zip(tables, columns, strict=True))
        labels, groups = tables[0]["label"].to_numpy(), tables[0]["group"].to_numpy()
        return paired_difference(labels, other, own, groups, rng=np.random.default_rng(0))


def _bounds(found: Difference) -> tuple[float, float, float]:
    return found.value, found.low, found.high
