"""The claim of the paper's Table I: ProxyAno is better than the eight other methods."""

from typing import Any

import numpy as np

from models.metrics import METRICS, Floats, auroc, of_resamples
from pipeline.evaluation.records import resampled, seeded_weights
from pipeline.evaluation.score_name import PRIMARY
from pipeline.reports.ablations.claims import claim_record
from pipeline.reports.ablations.experiments import Compared, judged
from pipeline.reports.benchmark.runs import OWN, DataSet
from pipeline.reports.kit.paper import TABLE_I, Claim
from pipeline.reports.kit.runs import Run, corrected
from pipeline.reports.kit.words import interval, p_value

RESAMPLES = 1000  # of whole groups: p can fall below .05 after a correction for eight methods


def better_than_eight(data: DataSet) -> dict[str, Any]:
    """The claim as ``claim_record``: differences of the ``PRIMARY`` AUROC over the seeds that both have."""
    others, dataset = [name for name in TABLE_I if name != OWN], data.key.removesuffix("_plain")
    claim = Claim(
        "Table I", "ProxyAno is better than the eight other methods", [(OWN, name) for name in others], dataset
    )
    differences = {pair: found for pair in claim.pairs if (found := _difference(data, pair[1])) is not None}
    one = judged(
        claim,
        corrected(differences),
        missing=[name for name in (OWN, *others) if name not in data.measured],
        labels={run.method: run.label for run in data.runs},
        said=lambda pair, found: f"{interval(found.value, found.low, found.high)}, p {p_value(found.p)} (Holm)",
    )
    return claim_record(one, dataset, raw=any(run.raw for run in data.runs))


def _difference(data: DataSet, method: str) -> Compared | None:
    """ProxyAno's AUROC minus that of a method; None where they share no seed, or it is undefined."""
    own, other = ({run.seed: run for run in data.measured.get(name, ())} for name in (OWN, method))
    seeds = sorted(own.keys() & other.keys())
    pairs = [(_drawn(own[seed], data.level), _drawn(other[seed], data.level)) for seed in seeds]
    if not pairs or any(one is None for pair in pairs for one in pair):
        return None
    by_seed = tuple(first[0] - second[0] for first, second in pairs)  # type: ignore[index]
    drawn = [np.mean([pair[place][1] for pair in pairs], axis=0) for place in (1, 0)]  # type: ignore[index]
    found = of_resamples(float(np.mean(by_seed)), *drawn)
    return Compared(found.value, found.low, found.high, found.p, by_seed, tuple(seeds))


def _drawn(run: Run, level: str) -> tuple[float, Floats] | None:
    """AUROC and its resamples, which draw the same groups for all runs."""
    column = f"{run.method}:{PRIMARY}"
    if level == "pixel":
        value = run.value(level, "auroc")
        return None if value is None else (value, np.array(run.resamples[column], float))
    labels, scores = run.test["label"].to_numpy(bool), run.test[column].to_numpy(float)
    if len(set(labels)) < 2:
        return None
    weights = seeded_weights(run.test["group"].to_numpy(), RESAMPLES)
    return auroc(labels, scores), resampled(METRICS["auroc"], labels, scores, weights)
