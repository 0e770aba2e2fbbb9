"""Results over seeds and splits: ``results.json``, its tables, pictures and report page."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from pipeline.data.datasets import DATASETS
from pipeline.errors import ConfigError
from pipeline.evaluation.saved import NO_PICTURES, load_evaluation
from pipeline.reports.evaluation.report import evaluation_report
from pipeline.reports.kit.publish import WRITTEN, write_report
from pipeline.reports.reconstruction_sheets import sheets
from pipeline.reports.results_tables import tables
from pipeline.reports.run_results import LANES, ROBUSTNESS, STAGES
from pipeline.reports.severity_curves import draw_curves
from pipeline.store.versions import Store, Version

LEVELS = ("image", "volume", "pixel", "reconstruction")
METRICS = ("auroc", "auroc_heldout", "auroc_adjusted", "ap", "sensitivity", "false_alarm_rate", "auroc_minus_null")
"""Kept figures of scores; of reconstruction all are kept."""
KEYS = ["dataset", "method", "score", "level", "metric", "subset", "part"]
PAGE_SHARE = 0.4  # of the report's budgets of bytes
CLOSE = 0.01  # how far a figure without an interval may be from the published one

Result = dict[str, Any]
"""KEYS, value, low, high, values (of each run), n, seeds, splits, pretrained, commit, minutes, command."""


@dataclass(frozen=True)
class Run:
    """One evaluation: where it is, and with which seed and split it was made."""

    home: Path
    dataset: str
    seed: int
    split: int

    @property
    def store(self) -> Store:
        """The store that holds it."""
        return Store(self.home / "stores")

    @property
    def version(self) -> Version | None:
        """The current evaluation; None where there is none."""
        asset = f"{self.dataset}/evaluation"
        return None if self.store.pointed(asset) is None else self.store.current(asset)


def publish_results(
    runs: Sequence[Run], folder: Path, rows: Sequence[Result] = (), claims: Sequence[Result] = ()
) -> list[Result]:
    """Write the folder (made if missing) and return the own results; pictures are of a data set's lowest seed.

    ``rows`` and ``claims`` are those of ``run_results``. What an earlier call wrote of other parts stays.
    """
    file, own = folder / "results.json", results(runs, rows)
    earlier, judged = _read(file) if file.is_file() else ([], [])
    found, claims = merged(own, earlier), merged_claims(claims, judged)
    lowest = {one["dataset"]: min(one["seeds"]) for one in found if one["part"] == LANES and not one["pretrained"]}
    runs = [run for run in runs if lowest.get(run.dataset, run.seed) == run.seed]
    commit = " ".join(sorted({one for result in found for one in str(result["commit"]).split()}))
    (folder / "reconstruction").mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"commit": commit, "claims": claims, "records": found}, indent=1) + "\n")
    (folder / "tables.md").write_text(tables(pd.DataFrame(found), commit, claims))
    for dataset in dict.fromkeys(one["dataset"] for one in own if one["part"] == ROBUSTNESS):
        curves = pd.DataFrame([one for one in found if (one["dataset"], one["part"]) == (dataset, ROBUSTNESS)])
        draw_curves(curves, DATASETS[dataset].title, folder / "robustness" / f"{dataset}.png")
    if {run.dataset for run in runs if run.version} >= set(DATASETS) and not any(one["pretrained"] for one in own):
        write_page(runs, folder / "report", commit)
    first = {run.dataset: run for run in reversed(runs) if run.version is not None}
    for dataset, run in first.items():
        for canvas, picture in sheets(run.store, dataset):
            cv2.imwrite(str(folder / "reconstruction" / f"{dataset}_{canvas}.png"), picture)
    return own


def write_page(runs: Sequence[Run], folder: Path, commit: str) -> None:
    """The evaluation report of the first run of each data set as ``<folder>/index.html``, for sharing.

    It shows images of data sets whose licence allows that, and no links to a tracking server.
    """
    lanes = []
    for run in {run.dataset: run for run in reversed(runs)}.values():
        assert run.version is not None
        lane = load_evaluation(run.version.path)
        lane = replace(lane, summary={**lane.summary, "mlflow": {}})
        lanes.append(lane if DATASETS[run.dataset].shared else replace(lane, pictures=NO_PICTURES, panels=()))
    with tempfile.TemporaryDirectory() as written:
        provenance = {WRITTEN: datetime.now(UTC).date().isoformat(), "git commit": commit}
        write_report(evaluation_report(lanes[::-1], PAGE_SHARE), Path(written), provenance)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(written) / "index.html", folder)


def read_results(file: Path) -> list[Result]:
    """Results of an earlier call; ``ConfigError`` if the file is missing or damaged."""
    return _read(file)[0]


def _read(file: Path) -> tuple[list[Result], list[Result]]:
    """Results and claims of an earlier call."""
    try:
        content = json.loads(file.read_text())
        return [{**one, "part": one.get("part", LANES)} for one in content["records"]], content.get("claims", [])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: expected earlier results, got no such file or a damaged one ({error})") from error


def results(runs: Sequence[Run], more: Sequence[Result] = ()) -> list[Result]:
    """One result per figure: values and 95 % interval bounds, averaged over runs.

    Intervals come from resampling groups of images, so they do not hold the spread over seeds. Runs with pretrained
    members give the figures of those members and their committee alone.
    """
    rows = [*(row for run in runs for row in _rows(run)), *more]
    groups = pd.DataFrame(rows).groupby(KEYS, sort=False) if rows else ()
    return [_mean(key, part) for key, part in groups]


def merged(own: Sequence[Result], earlier: Sequence[Result]) -> list[Result]:
    """Earlier results of other evaluations (with and without pretrained members are two), then the own.

    The benchmark and the ablations are an evaluation for each run: those that were not made again keep their results.
    An earlier result of the same commit and splits, but of other seeds, is averaged with the own one.
    """
    evaluated = set(map(_evaluation, own))
    kept = [result for result in earlier if _evaluation(result) not in evaluated]
    same = {_figure(result): result for result in earlier}
    return kept + [_pooled(result, same.get(_figure(result))) for result in own]


def merged_claims(own: Sequence[Result], earlier: Sequence[Result]) -> list[Result]:
    """Earlier claims that are not among the own, then the own; one with fewer comparisons replaces none."""
    of = itemgetter("dataset", "form", "where", "text")
    known = {of(claim): claim for claim in earlier}
    rests_on = {key: len(claim["differences"]) for key, claim in known.items()}
    now = {of(claim): claim for claim in own if len(claim["differences"]) >= max(1, rests_on.get(of(claim), 0))}
    now |= {of(claim): claim for claim in own if of(claim) not in known}
    return [*(claim for key, claim in known.items() if key not in now), *now.values()]


def _evaluation(result: Result) -> tuple[str, ...]:
    run = result["method"] if result["part"] in STAGES else ""
    return result["dataset"], result["part"], str(result["pretrained"]), run


def _figure(result: Result) -> tuple[Any, ...]:
    return tuple(str(result[key]) for key in (*KEYS, "pretrained", "commit", "splits"))


def _pooled(own: Result, other: Result | None) -> Result:
    """Mean over the runs of two results of one figure; the own one if they share a seed."""
    if other is None or set(own["seeds"]) & set(other["seeds"]):
        return own
    counts = [len(own["values"]), len(other["values"])]
    averaged: dict[str, float | None] = {}
    for name in ("value", "low", "high", "minutes"):
        pair = [own[name], other[name]]
        averaged[name] = None if None in pair else round(float(np.average(pair, weights=counts)), 4)
    seeds = sorted({*own["seeds"], *other["seeds"]})
    return {
        **own,
        **averaged,
        "values": dict(sorted({**own["values"], **other["values"]}.items())),
        "n": min(own["n"], other["n"]),
        "seeds": seeds,
        "command": f"{own['command'].rsplit(' ', 1)[0]} {','.join(map(str, seeds))}",
    }


def compare(found: Sequence[Result], published: Sequence[Result]) -> pd.DataFrame:
    """Published figures of the found data sets: KEYS, pretrained, value, low, high, n, here, agrees.

    A figure agrees if it is within the published interval, or within ``CLOSE`` where there is none; one that was not
    found does not. Figures with and without pretrained members are compared among themselves.
    """
    keys, of = [*KEYS, "pretrained"], itemgetter("dataset", "pretrained", "part")
    kinds = set(map(of, found))
    here, there = pd.DataFrame(found), pd.DataFrame([one for one in published if of(one) in kinds])
    both = there[[*keys, "value", "low", "high", "n"]].merge(
        here[[*keys, "value"]].rename(columns={"value": "here"}), on=keys, how="left"
    )
    numbers = both[["value", "low", "high", "here"]].astype(float)
    low, high = (numbers[name].fillna(numbers["value"] + sign * CLOSE) for name, sign in (("low", -1), ("high", 1)))
    undefined = numbers["value"].isna() & numbers["here"].isna()
    return both.assign(agrees=numbers["here"].between(low, high) | undefined)


def _rows(run: Run) -> Iterator[Result]:
    version = run.version
    if version is None:
        return
    lane = load_evaluation(version.path)
    provenance = run.store.provenance(version.asset, version.data_version)
    pretrained: list[str] = lane.summary.get("pretrained", [])
    setting = "PROXYANO_PRETRAINED=true " if pretrained else ""
    tail = {
        "part": LANES,
        "split": run.split,
        "commit": "unknown" if provenance is None else provenance.git_commit,
        "minutes": sum(lane.summary["minutes"].values()),
        "command": f"{setting}PROXYANO_PRESET={lane.summary['preset']} proxyano results {run.dataset} --seeds",
    }
    for record in lane.records:
        level, marked = record["level"], record["method"] in pretrained
        if marked == bool(pretrained) and (level == LEVELS[-1] or (level in LEVELS and record["metric"] in METRICS)):
            own = {key: record[key] for key in (*KEYS[:-1], "value", "low", "high", "n", "seed")}
            yield own | tail | {"pretrained": marked}


def _mean(key: tuple[Any, ...], part: pd.DataFrame) -> Result:
    """One result of the same figure in several runs."""
    seeds = sorted(map(int, set(part["seed"])))
    means = {name: part[name].mean() for name in ("value", "low", "high")}
    return {
        **dict(zip(KEYS, key, strict=True)),
        **{name: round(float(mean), 4) if np.isfinite(mean) else None for name, mean in means.items()},
        "values": {
            f"seed {seed}, split {split}": round(float(value), 4) if np.isfinite(value) else None
            for seed, split, value in zip(part["seed"], part["split"], part["value"], strict=True)
        },
        "n": int(part["n"].min()),
        "seeds": seeds,
        "splits": sorted(map(int, set(part["split"]))),
        "pretrained": bool(part["pretrained"].any()),
        "commit": " ".join(sorted(set(part["commit"]))),
        "minutes": round(float(part["minutes"].mean()), 1),
        "command": f"{part.iloc[0]['command']} {','.join(map(str, seeds))}",
    }
