"""The experiments of a data set, with mean AUROCs over seeds and paired differences between two of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.metrics import METRICS, Difference, Floats, auroc, bootstrap_weights, of_resamples, percentiles
from pipeline.reports.ablations.paper import PRINTED, Printed
from pipeline.reports.kit.runs import SURE, Run, corrected, made

Pair = tuple[str, str]
"""Names of two experiments: (better, worse), or (row, neighbour)."""
RESAMPLES = 10_000
"""Of whole groups, the same for all runs; so many that p can fall below ``SURE`` after a correction for fifty tests."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment with its seeds, whether they have been run or not."""

    runs: Sequence[Run]  # one per seed, the lowest first
    score: str  # it is judged by
    against: str  # its neighbour
    change: str  # against the neighbour, found from both configurations
    study: str = ""  # name of the study it belongs to; empty for rows from the paper

    @property
    def label(self) -> str:
        """Its name in the report."""
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
    """A difference of means over the seeds that both experiments were run with."""

    by_seed: tuple[float, ...] = ()

    @property
    def sure(self) -> bool:
        """The images tell the two apart (p), and every seed says the same."""
        return bool(self.p <= SURE and len(set(np.sign(self.by_seed))) == 1)


UNDEFINED = Compared(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """All experiments on one data set."""

    key: str
    title: str
    source: str  # data set whose tables of the paper apply
    rows: Mapping[str, Experiment]

    @cached_property
    def measured(self) -> Mapping[str, Sequence[Run]]:
        """Experiment → its existing runs, the lowest seed first; those without any are left out."""
        return {name: runs for name, row in self.rows.items() if (runs := made(row.runs))}

    @property
    def printed(self) -> Sequence[Printed]:
        """The paper's tables and figures of which at least half the experiments are rows here."""
        own = [one for one in PRINTED if one.dataset == self.source]
        return [one for one in own if 2 * sum(entry.name in self.rows for entry in one.entries) >= len(one.entries)]

    def auroc(self, name: str, score: str = "") -> MeanAUROC | None:
        """Image AUROC of an experiment by its own score or another; None where it is missing or undefined."""
        runs = self.measured.get(name, ())
        if not runs or not self._both_classes:
            return None
        by_seed, resampled = self._aurocs(runs, score or self.rows[name].score)
        return MeanAUROC(float(np.mean(by_seed)), *percentiles(resampled), tuple(by_seed))

    def difference(self, pair: Pair) -> Compared | None:
        """AUROC of the first minus that of the second, each by its own score; None where one is missing."""
        if any(name not in self.measured for name in pair):
            return None
        first, second = ({run.seed for run in self.measured[name]} for name in pair)
        shared = first & second
        if not shared or not self._both_classes:
            return UNDEFINED
        (own, own_resampled), (other, other_resampled) = (
            self._aurocs([run for run in self.measured[name] if run.seed in shared], self.rows[name].score)
            for name in pair
        )
        found = of_resamples(float(np.mean(own) - np.mean(other)), other_resampled, own_resampled)
        by_seed = tuple(a - b for a, b in zip(own, other, strict=True))
        return Compared(found.value, found.low, found.high, found.p, by_seed)

    def corrected(self, pairs: Iterable[Pair]) -> dict[Pair, Compared]:
        """The differences of those pairs that exist, p corrected for their number (Holm)."""
        return corrected({pair: found for pair in dict.fromkeys(pairs) if (found := self.difference(pair)) is not None})

    def _aurocs(self, runs: Sequence[Run], score: str) -> tuple[list[float], Floats]:
        """AUROC of each run, and their mean on each resample (RESAMPLES,)."""
        resampled = np.mean([self._resampled(run, score) for run in runs], axis=0)
        return [auroc(*self._scores(run, score)) for run in runs], resampled

    def _resampled(self, run: Run, score: str) -> Floats:
        """AUROC on each resample (RESAMPLES,); resample r draws the same images for all runs."""
        if (run.name, score) not in self._known:
            self._known[run.name, score] = METRICS["auroc"](*self._scores(run, score), self._weights)
        return self._known[run.name, score]

    def _scores(self, run: Run, score: str) -> tuple[NDArray[np.bool_], Floats]:
        """Labels and scores of the test images; ValueError where they are not those of the other experiments."""
        if run.test["image_id"].tolist() != self._images["image_id"].tolist():
            raise ValueError(f"{self.key}: {run.name} scored other images than the first experiment; make it again")
        return run.test["label"].to_numpy(bool), run.test[f"{run.method}:{score}"].to_numpy(float)

    @cached_property
    def _known(self) -> dict[tuple[str, str], Floats]:
        """Resamples by run and score, filled as they are needed."""
        return {}

    @cached_property
    def _images(self) -> pd.DataFrame:
        """The test images of all experiments, as the first one has them."""
        return next(iter(self.measured.values()))[0].test

    @property
    def _both_classes(self) -> bool:
        return bool(self._images["label"].nunique() == 2)

    @cached_property
    def _weights(self) -> Floats:
        return bootstrap_weights(self._images["group"].to_numpy(), RESAMPLES, np.random.default_rng(0))
