"""Records of several seeds and splits as one list: each value is the mean over runs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import ConfigError
from pipeline.evaluation.saved import LaneEvaluation, load_evaluation
from pipeline.store.versions import Store

LEVELS = ("image", "pixel", "reconstruction")
METRICS = ("auroc", "auroc_heldout", "auroc_adjusted", "ap", "auroc_minus_null")
"""Metrics of the levels image and pixel; of the level reconstruction, all are kept."""
KEYS = ("dataset", "method", "score", "level", "metric", "subset")

Result = dict[str, Any]
"""KEYS, value, low, high, n, seeds, splits, pretrained, commit, minutes, command."""


@dataclass(frozen=True)
class Run:
    """One evaluation: where it is, and with which seed and split it was made."""

    home: Path
    dataset: str
    seed: int
    split: int

    @property
    def evaluation(self) -> LaneEvaluation | None:
        """The current evaluation; None where there is none."""
        store = Store(self.home / "stores")
        if store.pointed(f"{self.dataset}/evaluation") is None:
            return None
        return load_evaluation(store.current(f"{self.dataset}/evaluation").path)


def results(runs: Sequence[Run], earlier: Sequence[Result] = (), *, add: bool = False) -> list[Result]:
    """One result a figure: the mean over the runs' values, and over their 95 % intervals.

    Intervals come from resampling groups of images, so they do not hold the spread over seeds. ``earlier`` results of
    data sets that no run has evaluated stay as they are. With ``add``, earlier results of other seeds are averaged
    with the runs'; without it they are replaced.
    """
    rows = [row for run in runs for row in _rows(run)]
    evaluated = {row["dataset"] for row in rows}
    kept = [result for result in earlier if result["dataset"] not in evaluated]
    if not rows:
        return kept
    made = _means(pd.DataFrame(rows))
    return kept + (_added(made, earlier) if add else made)


def read_results(path: Path) -> list[Result]:
    """Results of an earlier ``results.json``; none where there is no file."""
    return list(json.loads(path.read_text())["records"]) if path.is_file() else []


def _rows(run: Run) -> Iterator[dict[str, Any]]:
    lane = run.evaluation
    if lane is None:
        return
    store, summary = Store(run.home / "stores"), lane.summary
    version = store.current(f"{run.dataset}/evaluation")
    provenance = store.provenance(version.asset, version.data_version)
    tail = {
        "split": run.split,
        "commit": "unknown" if provenance is None else provenance.git_commit,
        "minutes": sum(summary["minutes"].values()),
        "command": f"PROXYANO_PRESET={summary['preset']} proxyano results {run.dataset} --seeds {run.seed}",
    }
    for record in lane.records:
        level = record["level"]
        if level == LEVELS[-1] or (level in LEVELS and record["metric"] in METRICS):
            yield {key: record[key] for key in (*KEYS, "value", "low", "high", "n", "seed")} | tail


def _means(rows: pd.DataFrame) -> list[Result]:
    found = []
    for key, part in rows.groupby(list(KEYS), sort=False):
        seeds = sorted({int(seed) for seed in part["seed"]})
        command = str(part.iloc[0]["command"]).rpartition(" ")[0]
        result: Result = dict(zip(KEYS, key, strict=True))
        result |= {name: _rounded(part[name].mean()) for name in ("value", "low", "high")}
        result |= {"n": int(part["n"].min()), "seeds": seeds, "splits": sorted({int(one) for one in part["split"]})}
        result |= {"pretrained": False, "commit": " ".join(sorted(set(part["commit"])))}
        result |= {"minutes": round(float(part["minutes"].mean()), 1)}
        found.append(result | {"command": f"{command} {','.join(map(str, seeds))}"})
    return found


def _added(made: list[Result], earlier: Sequence[Result]) -> list[Result]:
    """Each result averaged with the earlier one of the same figure, weighted by seeds; none may be in both."""
    known = {tuple(result[key] for key in KEYS): result for result in earlier}
    return [_joined(known.get(tuple(result[key] for key in KEYS)), result) for result in made]


def _joined(one: Result | None, other: Result) -> Result:
    if one is None:
        return other
    if both := sorted(set(one["seeds"]) & set(other["seeds"])):
        raise ConfigError(f"seeds {both} are in the earlier results too; leave out --add to replace them")
    counts = [len(one["seeds"]), len(other["seeds"])]
    joined = dict(other)
    for name in ("value", "low", "high", "minutes"):
        pair = [result[name] for result in (one, other)]
        joined[name] = None if None in pair else round(float(np.average(pair, weights=counts)), 4)
    joined["seeds"] = sorted([*one["seeds"], *other["seeds"]])
    joined["commit"] = " ".join(sorted({*str(one["commit"]).split(), *str(other["commit"]).split()}))
    joined["command"] = f"{other['command'].rpartition(' ')[0]} {','.join(map(str, joined['seeds']))}"
    return joined | {"n": min(one["n"], other["n"])}


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
