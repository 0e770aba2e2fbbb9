"""The experiments of a data set: AUROCs over seeds, paired differences, and what they say of the paper's claims."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import stdev

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.metrics import METRICS, Difference, Floats, auroc, bootstrap_weights, of_resamples, percentiles
from pipeline.reports.kit.paper import CLAIMS, PRINTED, Claim, Printed
from pipeline.reports.kit.runs import SURE, Run, corrected, made
from pipeline.reports.kit.words import interval, listed, number, p_value

Pair = tuple[str, str]  # names of two experiments: (better, worse), or (row, neighbour)
RESAMPLES = 10_000
"""Of whole groups, the same for all runs; so many that p can fall below ``SURE`` after a correction for fifty tests."""
CONFIRMED, REFUSED, UNDECIDED, UNTESTED = "confirmed", "not confirmed", "undecided at this budget", "not tested"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment with its seeds, whether they have been run or not."""

    label: str  # in the report
    runs: Sequence[Run]  # one per seed, the lowest first
    score: str  # it is judged by
    against: str  # its neighbour
    change: str  # against the neighbour, found from both configurations


@dataclass(frozen=True)
class MeanAUROC:
    """Mean image AUROC over seeds, its 95 % interval over images, and the AUROC of each seed."""

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None for one seed."""
        return stdev(self.by_seed) if len(self.by_seed) > 1 else None

    @property
    def text(self) -> str:
        """The mean, and its sd where there are several seeds."""
        return number(self.value) + ("" if self.spread is None else f" ± {number(self.spread)}")


@dataclass(frozen=True)
class Compared(Difference):
    """A difference of means over the seeds that both experiments were run with."""

    by_seed: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()

    @property
    def sure(self) -> bool:
        """The images tell the two apart (p), and every seed says the same."""
        return bool(self.p <= SURE and len(set(np.sign(self.by_seed))) == 1)


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """All experiments on one data set."""

    key: str
    title: str
    source: str  # data set whose tables of the paper apply
    rows: Mapping[str, Experiment]
    _known: dict[tuple[str, str], Floats] = field(default_factory=dict, init=False, compare=False, repr=False)

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
        if not first & second or not self._both_classes:
            return Compared(math.nan, math.nan, math.nan, math.nan)
        (own, own_resampled), (other, other_resampled) = (
            self._aurocs([run for run in self.measured[name] if run.seed in first & second], self.rows[name].score)
            for name in pair
        )
        found = of_resamples(float(np.mean(own) - np.mean(other)), other_resampled, own_resampled)
        by_seed = tuple(a - b for a, b in zip(own, other, strict=True))
        return Compared(found.value, found.low, found.high, found.p, by_seed, tuple(sorted(first & second)))

    def corrected(self, pairs: Iterable[Pair]) -> dict[Pair, Compared]:
        """The differences of those pairs that exist, p corrected for their number (Holm)."""
        return corrected({pair: found for pair in dict.fromkeys(pairs) if (found := self.difference(pair)) is not None})

    def _aurocs(self, runs: Sequence[Run], score: str) -> tuple[list[float], Floats]:
        """AUROC of each run, and their mean on each resample (RESAMPLES,); resample r draws the same images for all."""
        for run in runs:
            if (run.name, score) not in self._known:
                self._known[run.name, score] = METRICS["auroc"](*self._scores(run, score), self._weights)
        resampled = np.mean([self._known[run.name, score] for run in runs], axis=0)
        return [auroc(*self._scores(run, score)) for run in runs], resampled

    def _scores(self, run: Run, score: str) -> tuple[NDArray[np.bool_], Floats]:
        """Labels and scores of the test images; ValueError where they are not those of the other experiments."""
        if run.test["image_id"].tolist() != self._images["image_id"].tolist():
            raise ValueError(f"{self.key}: {run.name} scored other images than the first experiment; make it again")
        return run.test["label"].to_numpy(bool), run.test[f"{run.method}:{score}"].to_numpy(float)

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


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim with its verdict."""

    claim: Claim
    word: str
    why: str
    found: Mapping[Pair, Compared] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """The verdict as a sentence."""
        verb = "was" if self.word == UNTESTED else "is"
        return f"{self.claim.where}: that {self.claim.text} {verb} {self.word}; {self.why}."


def opening(every: Sequence[DataSet]) -> str:
    """The report's first paragraph: how many claims fared how, data set by data set."""
    said = []
    for data in every:
        if not data.measured:
            said.append(f"{data.title}: no experiment has been run.")
            continue
        counts = Counter(judged.word for judged in judge(data))
        words = [f"{counts[word]} {word}" for word in (CONFIRMED, REFUSED, UNDECIDED, UNTESTED) if counts[word]]
        said.append(f"{data.title}: of the paper's {sum(counts.values())} claims {listed(words)}.")
    return " ".join(said)


def judge(data: DataSet) -> list[Judged]:
    """The claims whose experiments are rows of the data set; p is corrected over all pairs of all of them."""
    claims = [
        claim
        for claim in CLAIMS
        if claim.dataset == data.source and all(name in data.rows for pair in claim.pairs for name in pair)
    ]
    found = data.corrected(pair for claim in claims for pair in claim.pairs)
    return [
        judged(
            claim,
            {pair: found[pair] for pair in claim.pairs if pair in found},
            missing=sorted({name for pair in claim.pairs for name in pair} - set(data.measured)),
            labels={name: row.label for name, row in data.rows.items()},
            said=lambda pair, found: _comparison(data, pair, found),
        )
        for claim in claims
    ]


def judged(
    claim: Claim,
    found: Mapping[Pair, Compared],
    *,
    missing: Sequence[str],
    labels: Mapping[str, str],
    said: Callable[[Pair, Compared], str],
) -> Judged:
    """The verdict by the compared pairs; ``said`` puts a single comparison into figures."""
    against = [pair for pair, d in found.items() if d.sure and d.value < 0]
    clearly = [pair for pair, d in found.items() if d.sure and d.value > 0]
    decided = CONFIRMED if len(clearly) == len(claim.pairs) else UNDECIDED
    word = REFUSED if against else UNTESTED if missing else decided
    if len(claim.pairs) == 1 and found:
        (pair,) = claim.pairs
        return Judged(claim=claim, word=word, why=said(pair, found[pair]), found=found)
    parts = [f"clearly so in {len(clearly)} of {len(claim.pairs)} comparisons"] if found else []
    if against:
        named = listed([" against ".join(labels[name] for name in pair) for pair in against])
        parts.append(f"clearly the other way in {len(against)} ({named})")
    if missing:
        parts.append(f"missing: {listed(missing)}")
    return Judged(claim=claim, word=word, why=", ".join(parts), found=found)


def _comparison(data: DataSet, pair: Pair, found: Compared) -> str:
    """A single comparison in figures."""
    first, second = ("–" if mean is None else mean.text for mean in map(data.auroc, pair))
    difference = interval(found.value, found.low, found.high)
    said = f"AUROC {first} against {second}, difference {difference}, p {p_value(found.p)} (Holm)"
    if len(found.by_seed) > 1:
        said += f", seed by seed {listed([number(gain) for gain in found.by_seed])}"
    return said
