"""The experiments as the report reads them: by data set, made or not, with paired differences between two."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from models.comparison import Difference, MeanAUROC, holm, mean_auroc, paired_difference
from models.metrics import auroc
from models.scoring import Array
from pipeline.steps.reports.ablations.paper import PRINTED, Printed
from pipeline.steps.reports.benchmark.runs import Measured, Run
from pipeline.steps.reports.lanes import load_evaluation

Pair = tuple[str, str]
"""Names of two experiments: (better, worse), or (row, neighbour)."""
SURE = 0.05
"""Largest corrected p at which two experiments count as different."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment, made or not, with its seeds."""

    runs: Sequence[Run]  # one a seed, the lowest first
    score: str  # it is judged by
    against: str  # its neighbour
    change: str  # what it changes against it, found from both configurations
    study: str = ""  # that it is a row of

    @property
    def label(self) -> str:
        """For people."""
        return self.runs[0].label


@dataclass(frozen=True)
class Compared(Difference):
    """A difference of means over the seeds that both experiments were made with."""

    by_seed: tuple[float, ...] = ()

    @property
    def sure(self) -> bool:
        """The images tell the two apart (p), and every seed says the same."""
        return bool(self.p <= SURE and len(set(np.sign(self.by_seed))) == 1)


UNDEFINED = Compared(float("nan"), float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """All experiments on one data set."""

    key: str
    title: str
    source: str  # data set whose tables of the paper apply
    rows: Mapping[str, Experiment]
    found: dict[Pair, Compared] = field(default_factory=dict, compare=False)  # differences that are known already

    @cached_property
    def measured(self) -> Mapping[str, Sequence[Measured]]:
        """Experiment → its runs that were made, the lowest seed first; those without any are left out."""
        found = {
            name: [
                Measured(run=run, lane=load_evaluation(run.version.path), folder=run.version.path)
                for run in row.runs
                if run.version is not None
            ]
            for name, row in self.rows.items()
        }
        return {name: runs for name, runs in found.items() if runs}

    @property
    def printed(self) -> Sequence[Printed]:
        """The paper's tables and figures of which at least half the experiments are rows here."""
        own = [one for one in PRINTED if one.dataset == self.source]
        return [one for one in own if 2 * sum(entry.name in self.rows for entry in one.entries) >= len(one.entries)]

    def auroc(self, name: str, score: str = "") -> MeanAUROC | None:
        """Image AUROC of an experiment by its own score, or another; None where it was not made or is undefined."""
        runs = self.measured.get(name, ())
        if not runs or _test(runs[0])["label"].nunique() < 2:
            return None
        table = _test(runs[0])
        scores = np.stack([self._scores(name, one, score) for one in runs])
        groups = table["group"].to_numpy()
        return mean_auroc(table["label"].to_numpy(), scores, groups, rng=np.random.default_rng(0))

    def difference(self, pair: Pair) -> Compared | None:
        """AUROC of the first minus that of the second, each by its own score; None where one was not made."""
        if any(name not in self.measured for name in pair):
            return None
        if pair not in self.found:
            self.found[pair] = self._paired(pair)
        return self.found[pair]

    def corrected(self, pairs: Iterable[Pair]) -> dict[Pair, Compared]:
        """The differences of those pairs that were made, p corrected for their number (Holm)."""
        raw = {pair: d for pair in dict.fromkeys(pairs) if (d := self.difference(pair)) is not None}
        names = {" ".join(pair): pair for pair in raw}
        p = holm({name: raw[pair].p for name, pair in names.items()})
        return {pair: replace(raw[pair], p=p[name]) for name, pair in names.items()}

    def _paired(self, pair: Pair) -> Compared:
        first, second = (self.measured[name] for name in pair)
        shared = sorted({one.run.seed for one in first} & {one.run.seed for one in second})
        if not shared:
            return UNDEFINED
        own, other = ([one for one in runs if one.run.seed in shared] for runs in (first, second))
        tables = [_test(one) for one in (*own, *other)]
        if any(table["image_id"].tolist() != tables[0]["image_id"].tolist() for table in tables):
            raise ValueError(f"{self.key}: {pair[0]} scored other images than {pair[1]}; make both again")
        if tables[0]["label"].nunique() < 2:
            return UNDEFINED
        scores = [
            np.stack([self._scores(name, one) for one in runs]) for name, runs in zip(pair, (own, other), strict=True)
        ]
        labels, groups = tables[0]["label"].to_numpy(), tables[0]["group"].to_numpy()
        found = paired_difference(labels, scores[1], scores[0], groups, rng=np.random.default_rng(0))
        gains = tuple(auroc(labels, one) - auroc(labels, two) for one, two in zip(*scores, strict=True))
        return Compared(found.value, found.low, found.high, found.p, gains)

    def _scores(self, name: str, one: Measured, score: str = "") -> Array:
        values: Array = _test(one)[f"{one.run.method}:{score or self.rows[name].score}"].to_numpy(float)
        return values


def _test(one: Measured) -> pd.DataFrame:
    scores: pd.DataFrame = one.lane.scores
    return scores[scores["split"] == "test"]
