"""Results over seeds and splits: ``results.json``, its tables, pictures and report page."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
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
from pipeline.store.versions import Store, Version

LEVELS = ("image", "volume", "pixel", "reconstruction")
METRICS = ("auroc", "auroc_heldout", "auroc_adjusted", "ap", "sensitivity", "false_alarm_rate", "auroc_minus_null")
"""Kept figures of scores; of reconstruction all are kept."""
KEYS = ["dataset", "method", "score", "level", "metric", "subset"]
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


def publish_results(runs: Sequence[Run], folder: Path) -> list[Result]:
    """Write the folder (made if missing) and return the runs' results; pictures are of a data set's lowest seed."""
    file, own = folder / "results.json", results(runs)
    found = merged(own, read_results(file) if file.is_file() else ())
    lowest = {one["dataset"]: min(one["seeds"]) for one in found if not one["pretrained"]}
    runs = [run for run in runs if lowest.get(run.dataset, run.seed) == run.seed]
    commit = " ".join(sorted({one for result in found for one in str(result["commit"]).split()}))
    (folder / "reconstruction").mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"commit": commit, "records": found}, indent=1) + "\n")
    (folder / "tables.md").write_text(tables(pd.DataFrame(found), commit))
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
    try:
        found: list[Result] = json.loads(file.read_text())["records"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: expected earlier results, got no such file or a damaged one ({error})") from error
    return found


def results(runs: Sequence[Run]) -> list[Result]:
    """One result per figure: values and 95 % interval bounds, averaged over runs.

    Intervals come from resampling groups of images, so they do not hold the spread over seeds. Runs with pretrained
    members give the figures of those members and their committee alone.
    """
    rows = [row for run in runs for row in _rows(run)]
    groups = pd.DataFrame(rows).groupby(KEYS, sort=False) if rows else ()
    return [_mean(key, part) for key, part in groups]


def merged(own: Sequence[Result], earlier: Sequence[Result]) -> list[Result]:
    """Earlier results of other data sets, or of the same with or without pretrained members, then the own ones.

    An earlier result of the same commit and splits, but of other seeds, is averaged with the own one.
    """
    evaluated = {(result["dataset"], result["pretrained"]) for result in own}
    kept = [result for result in earlier if (result["dataset"], result["pretrained"]) not in evaluated]
    same = {_figure(result): result for result in earlier}
    return kept + [_pooled(result, same.get(_figure(result))) for result in own]


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
    keys = [*KEYS, "pretrained"]
    here, there = pd.DataFrame(found), pd.DataFrame(published)
    kinds = set(zip(here["dataset"], here["pretrained"], strict=True))
    there = there[[kind in kinds for kind in zip(there["dataset"], there["pretrained"], strict=True)]]
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
        "split": run.split,
        "commit": "unknown" if provenance is None else provenance.git_commit,
        "minutes": sum(lane.summary["minutes"].values()),
        "command": f"{setting}PROXYANO_PRESET={lane.summary['preset']} proxyano results {run.dataset} --seeds",
    }
    for record in lane.records:
        level, marked = record["level"], record["method"] in pretrained
        if marked == bool(pretrained) and (level == LEVELS[-1] or (level in LEVELS and record["metric"] in METRICS)):
            own = {key: record[key] for key in (*KEYS, "value", "low", "high", "n", "seed")}
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


def tables(found: pd.DataFrame, commit: str) -> str:
    """Markdown: what the methods do to images, then image and pixel scores of each data set."""
    parts = [f"# Tables\n\nMade by `proxyano results` from evaluations at commit {commit}; 95 % intervals.\n"]
    if found.empty:
        return parts[0]
    does = found[found["level"] == LEVELS[-1]]
    does = does.assign(row=does["dataset"] + " " + does["score"] + ", " + does["method"])
    does = does.assign(column=does["metric"] + ", " + does["subset"])
    wide = does.pivot_table(index="column", columns="row", values="value", sort=False)
    texts = wide.map(lambda value: "" if pd.isna(value) else f"{value:.3f}")
    aligned = ("left", *["right"] * len(texts.columns))
    written = texts.to_markdown(colalign=aligned, disable_numparse=True)
    parts.append(f"## What the methods do to images\n\n{written}\n")
    for (dataset, level), part in found[found["level"] != LEVELS[-1]].groupby(["dataset", "level"], sort=False):
        every = part[part["subset"] == "all"]
        rows = {
            f"{method} {score}{', pretrained' if pretrained else ''}": {
                metric: _shown(one.iloc[0]) for metric, one in cells.groupby("metric", sort=False)
            }
            for (method, score, pretrained), cells in every.groupby(["method", "score", "pretrained"], sort=False)
        }
        table = pd.DataFrame.from_dict(rows, orient="index").fillna("")
        parts.append(f"## {dataset}, {level} level, n = {int(every['n'].max())}\n\n{table.to_markdown()}\n")
    return "\n".join(parts)


def _shown(result: pd.Series) -> str:
    bounds = "" if pd.isna(result["low"]) else f" [{result['low']:.3f}, {result['high']:.3f}]"
    return f"{result['value']:.3f}{bounds}"
