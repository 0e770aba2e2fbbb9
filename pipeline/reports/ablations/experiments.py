"""The experiments as the report reads them: by data set, made or not, with paired differences between two."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.comparison import Difference, holm, of_resamples
from models.metrics import METRICS, Floats, auroc, bootstrap_weights, percentiles
from pipeline.evaluation.saved import load_evaluation
from pipeline.reports.ablations.paper import PRINTED, Printed
from pipeline.reports.benchmark.runs import Measured, Run

Pair = tuple[str, str]
"""Names of two experiments: (better, worse), or (row, neighbour)."""
SURE = 0.05
"""Largest corrected p at which two experiments count as different."""
RESAMPLES = 10_000
"""Of whole groups, the same for all runs: so many that p can fall below ``SURE`` even after a correction for fifty."""


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
class MeanAUROC:
    """Mean image AUROC over seeds, its 95 % interval over images, and the AUROC of each seed."""

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]


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
    drawn: dict[tuple[str, str], Floats] = field(
        default_factory=dict, compare=False
    )  # resamples that are known already

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
        if not runs or not self._both_classes:
            return None
        score = score or self.rows[name].score
        by_seed = tuple(self._auroc(one, score) for one in runs)
        drawn = np.mean([self._resampled(one, score) for one in runs], axis=0)
        return MeanAUROC(float(np.mean(by_seed)), *percentiles(drawn), by_seed)

    def difference(self, pair: Pair) -> Compared | None:
        """AUROC of the first minus that of the second, each by its own score; None where one was not made."""
        if any(name not in self.measured for name in pair):
            return None
        by_seed = [{one.run.seed: one for one in self.measured[name]} for name in pair]
        shared = sorted(by_seed[0].keys() & by_seed[1].keys())
        if not shared or not self._both_classes:
            return UNDEFINED
        runs = [[held[seed] for seed in shared] for held in by_seed]
        scores = [self.rows[name].score for name in pair]
        own, other = ([self._auroc(one, s) for one in ones] for ones, s in zip(runs, scores, strict=True))
        drawn = [
            np.mean([self._resampled(one, s) for one in ones], axis=0) for ones, s in zip(runs, scores, strict=True)
        ]
        found = of_resamples(float(np.mean(own) - np.mean(other)), drawn[1], drawn[0])
        return Compared(
            found.value, found.low, found.high, found.p, tuple(a - b for a, b in zip(own, other, strict=True))
        )

    def corrected(self, pairs: Iterable[Pair]) -> dict[Pair, Compared]:
        """The differences of those pairs that were made, p corrected for their number (Holm)."""
        raw = {pair: d for pair in dict.fromkeys(pairs) if (d := self.difference(pair)) is not None}
        names = {" ".join(pair): pair for pair in raw}
        p = holm({name: raw[pair].p for name, pair in names.items()})
        return {pair: replace(raw[pair], p=p[name]) for name, pair in names.items()}

    @cached_property
    def _images(self) -> pd.DataFrame:
        """The test images of all experiments, as the first one has them."""
        return _test(next(iter(self.measured.values()))[0])

    @property
    def _both_classes(self) -> bool:
        return bool(self._images["label"].nunique() == 2)

    @cached_property
    def _weights(self) -> Floats:
        return bootstrap_weights(self._images["group"].to_numpy(), RESAMPLES, np.random.default_rng(0))

    def _scores(self, one: Measured, score: str) -> tuple[NDArray[np.bool_], Floats]:
        """Labels and scores of the test images; raises where they are not those of the other experiments."""
        table = _test(one)
        if table["image_id"].tolist() != self._images["image_id"].tolist():
            raise ValueError(f"{self.key}: {one.run.name} scored other images than the first experiment; make it again")
        return table["label"].to_numpy(bool), table[f"{one.run.method}:{score}"].to_numpy(float)

    def _auroc(self, one: Measured, score: str) -> float:
        return auroc(*self._scores(one, score))

    def _resampled(self, one: Measured, score: str) -> Floats:
        """AUROC on each resample (RESAMPLES,); resample r draws the same images for all runs."""
        key = (one.run.name, score)
        if key not in self.drawn:
            self.drawn[key] = METRICS["auroc"](*self._scores(one, score), self._weights)
        return self.drawn[key]


def _test(one: Measured) -> pd.DataFrame:
    scores: pd.DataFrame = one.lane.scores
    return scores[scores["split"] == "test"]
