"""Write ``results.json``, ``tables.md`` and the pictures of reconstructions into one folder."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import pandas as pd

from pipeline.reports.results.gather import LEVELS, Result, Run, read_results, results
from pipeline.reports.results.sheets import sheets
from pipeline.store.versions import Store


def publish_results(runs: Sequence[Run], folder: Path, *, add: bool = False) -> list[Result]:
    """Write the folder (made if missing) and return its results; pictures are those of the first run of a data set."""
    found = results(runs, read_results(folder / "results.json"), add=add)
    commit = " ".join(sorted({one for result in found for one in str(result["commit"]).split()}))
    (folder / "reconstruction").mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({"commit": commit, "records": found}, indent=1) + "\n")
    (folder / "tables.md").write_text(tables(pd.DataFrame(found), commit))
    drawn = set[str]()
    for run in runs:
        if run.dataset not in drawn and run.evaluation is not None:
            drawn.add(run.dataset)
            for canvas, picture in sheets(Store(run.home / "stores"), run.dataset):
                cv2.imwrite(str(folder / "reconstruction" / f"{run.dataset}_{canvas}.png"), picture)
    return found


def tables(found: pd.DataFrame, commit: str) -> str:
    """Markdown: what the methods do to images, then image and pixel scores of each data set."""
    parts = [f"# Tables\n\nMade by `proxyano results` from evaluations at commit {commit}; 95 % intervals.\n"]
    if found.empty:
        return parts[0]
    does = found[found["level"] == LEVELS[-1]]
    does = does.assign(row=does["dataset"] + " " + does["score"] + ", " + does["method"])
    does = does.assign(column=does["metric"] + ", " + does["subset"])
    wide = does.pivot_table(index="column", columns="row", values="value", sort=False).round(3)
    parts.append(f"## What the methods do to images\n\n{wide.to_markdown()}\n")
    for (dataset, level), part in found[found["level"] != LEVELS[-1]].groupby(["dataset", "level"], sort=False):
        every = part[part["subset"] == "all"]
        rows = {
            f"{method} {score}": {metric: _shown(one.iloc[0]) for metric, one in cells.groupby("metric", sort=False)}
            for (method, score), cells in every.groupby(["method", "score"], sort=False)
        }
        table = pd.DataFrame.from_dict(rows, orient="index").fillna("")
        parts.append(f"## {dataset}, {level} level, n = {int(every['n'].max())}\n\n{table.to_markdown()}\n")
    return "\n".join(parts)


def _shown(result: pd.Series) -> str:
    bounds = "" if pd.isna(result["low"]) else f" [{result['low']:.3f}, {result['high']:.3f}]"
    return f"{result['value']:.3f}{bounds}"
