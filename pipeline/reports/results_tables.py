"""The Markdown tables of ``results.json``."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipeline.evaluation.robustness import SUBSETS
from pipeline.reports.kit.words import listed
from pipeline.reports.run_results import ABLATIONS, BENCHMARK, LANES, ROBUSTNESS

Claims = Sequence[Mapping[str, Any]]
DOES = "reconstruction"  # level of what methods do to images


def _commits(commits: str) -> str:
    """Commits, separated by spaces, in short; one of a changed checkout says so."""
    parted = [one.partition("+") for one in commits.split()]
    short = [*dict.fromkeys(f"{commit[:7]}{plus}{changes}" for commit, plus, changes in parted)]
    return f"commit{'s' if len(short) > 1 else ''} {listed(short)}"


def tables(found: pd.DataFrame, commit: str, claims: Claims = ()) -> str:
    """The paper's claims, what the methods do to images, scores, the benchmark, the ablations, disturbed images."""
    parts = [
        f"# Tables\n\nMade by `proxyano results` and `proxyano reproduce` at {_commits(commit)}; 95 % intervals.\n"
    ]
    commands = [*found.get("command", ()), *(claim.get("command", "") for claim in claims)]
    if any("PROXYANO_PRESET=sample" in str(command) for command in commands):
        parts.append("> Preset `sample`: tiny networks, by default on drawn images. Nothing here is about real data.\n")
    parts += [_claims(claims)] if claims else []
    if found.empty:
        return "\n".join(parts)
    lanes = found[found["part"] == LANES]
    parts += _lanes(lanes) if len(lanes) else []
    for part, title in ((BENCHMARK, "Benchmark"), (ABLATIONS, "Ablations")):
        runs = found[(found["part"] == part) & (found["metric"] == "auroc")]
        if len(runs):
            parts.append(f"## {title}, AUROC\n\nMeans over seeds.\n")
            parts += [
                f"{dataset}, {level} level:\n\n{_runs(own)}\n"
                for (dataset, level), own in runs.groupby(["dataset", "level"], sort=False)
            ]
    disturbed = found[found["part"] == ROBUSTNESS]
    if len(disturbed):
        note = "Image AUROC of the detector on a sample of test images (IDRiD: against held-out normals). "
        note += "A number of images says that the form refused the others."
        parts.append(f"## Disturbed images\n\n{note}\n\n{_disturbed(disturbed)}\n")
    return "\n".join(parts)


def _claims(claims: Claims) -> str:
    rows = [
        {
            "data set": f"{claim['dataset']}, {claim['form']} form" if claim["form"] == "raw" else claim["dataset"],
            "paper": claim["where"],
            "claim": claim["text"],
            "here": claim["verdict"],
            "why": claim["why"],
        }
        for claim in claims
        if claim["differences"]
    ]
    untried = f"Not tried: {len(claims) - len(rows)} more.\n" if len(claims) > len(rows) else ""
    table = f"{pd.DataFrame(rows).to_markdown(index=False)}\n\n" if rows else ""
    return f"## The paper's claims\n\n{table}{untried}"


def _lanes(found: pd.DataFrame) -> list[str]:
    parts = []
    does = found[found["level"] == DOES]
    does = does.assign(row=does["dataset"] + " " + does["score"] + ", " + does["method"])
    does = does.assign(column=does["metric"] + ", " + does["subset"])
    wide = does.pivot_table(index="column", columns="row", values="value", sort=False)
    texts = wide.map(lambda value: "" if pd.isna(value) else f"{value:.3f}")
    aligned = ("left", *["right"] * len(texts.columns))
    written = texts.to_markdown(colalign=aligned, disable_numparse=True)
    parts.append(f"## What the methods do to images\n\n{written}\n")
    for (dataset, level), part in found[found["level"] != DOES].groupby(["dataset", "level"], sort=False):
        every = part[part["subset"] == "all"]
        rows = {
            f"{method} {score}{', pretrained' if pretrained else ''}": {
                metric: _shown(one.iloc[0]) for metric, one in cells.groupby("metric", sort=False)
            }
            for (method, score, pretrained), cells in every.groupby(["method", "score", "pretrained"], sort=False)
        }
        table = pd.DataFrame.from_dict(rows, orient="index").fillna("")
        parts.append(f"## {dataset}, {level} level, n = {int(every['n'].max())}\n\n{table.to_markdown()}\n")
    return parts


def _runs(found: pd.DataFrame) -> str:
    """A row for each run, a column for each score."""
    rows = {
        method: {one["score"]: _shown(one) for _, one in cells.iterrows()}
        for method, cells in found.groupby("method", sort=False)
    }
    return pd.DataFrame.from_dict(rows, orient="index").fillna("").to_markdown()


def _disturbed(found: pd.DataFrame) -> str:
    """A row for each kind and level, a column for each data set."""
    most = found.groupby("dataset")["n"].max()
    rows = {
        subset: {
            one["dataset"]: _shown(one) + ("" if one["n"] == most[one["dataset"]] else f", {one['n']} images")
            for _, one in found[found["subset"] == subset].iterrows()
        }
        for subset in SUBSETS
    }
    return pd.DataFrame.from_dict(rows, orient="index").fillna("").to_markdown()


def _shown(result: "pd.Series[Any]") -> str:
    if pd.isna(result["value"]):
        return "–"
    bounds = "" if pd.isna(result["low"]) else f" [{result['low']:.3f}, {result['high']:.3f}]"
    return f"{result['value']:.3f}{bounds}"
