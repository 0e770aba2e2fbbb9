"""`report.md`, `report.json` and the pictures of docs/results/quality from what `benchmarks.quality` left.

    PROXYANO_RAW=… PROXYANO_PRESET=quick python -m benchmarks.quality_report docs/results/quality

The text between the tables that a person has to write stands in `notes.md` of that folder and is taken over as it is.
A run that was not made here keeps its records of the folder's `report.json`, where `runs.json` tells which they are.
"""

import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from scipy.stats import spearmanr

from benchmarks.quality_runs import FITTED, earlier, place, records_of, run_key, stage_minutes
from benchmarks.quality_tables import by_class, grid, spread, title
from pipeline.data.datasets import DATASETS
from pipeline.evaluation.records import REVIEWED, kind, split_name
from pipeline.reports.kit.paper import PAPER
from pipeline.reports.kit.words import number
from pipeline.wiring.settings import Settings

MARKS: dict[str, list[tuple[str, str, str, str, float]]] = {
    "brain_mri": [
        ("best", "image", "auroc", "all", 0.92),
        ("best", "image", "auroc_adjusted", "all", 0.90),
        ("proxyano", "image", "auroc", "all", 0.87),
    ],
    "oct": [
        ("best", "image", "auroc", "all", 0.999),
        ("best", "image", "auroc_heldout", "all", 0.99),
        ("proxyano", "image", "auroc", "all", 0.99),
        ("proxyano", "image", "auroc", "DRUSEN", 0.97),
    ],
    "idrid": [
        ("best", "pixel", "auroc", "all", 0.93),
        ("best", "pixel", "ap", "all", 0.60),
        ("proxyano", "pixel", "auroc", "all", 0.87),
        ("proxyano", "pixel", "ap", "all", 0.45),
    ],
}
"""Data set → (whose, level, metric, subset, goal); ``best`` is the committee, fixed before any test."""
PICTURES = ("missed_1", "missed_2", "missed_3", "false_alarm_1", "false_alarm_2", "false_alarm_3", "found_1", "found_2")
WITH_CONTROLS = ("lane", "committee")
"""Kinds of runs in which the controls were measured too."""
OWNERS = {"best": "committee", "proxyano": "proxyano"}


def main() -> None:
    """Write the report into the folder named on the command line."""
    folder, home = Path(sys.argv[1]), Settings().home / "quality"
    lists = [home / name / "runs.json" for name in MARKS]
    here = [row for path in lists if path.exists() for row in json.loads(path.read_text())]
    if not here:
        raise SystemExit(f"{home}: expected a runs.json of a data set, found none; run python -m benchmarks.quality")
    found = earlier(folder) | {run_key(row): (row, records_of(row)) for row in here}
    runs, tables = zip(*(found[key] for key in sorted(found, key=place)), strict=True)
    every = pd.concat(tables, ignore_index=True)
    lines = ["# Detection quality", "", marks_sentence(every), "", *marks(every)]
    notes = folder / "notes.md"
    lines.append("")
    lines += [notes.read_text().strip(), ""] if notes.exists() else []
    for name in dict.fromkeys(every["dataset"]):
        lines += section(every[every["dataset"] == name], name)
    lines += agreement(every)
    lines += made([row | {"stages": stage_minutes(row)} for row in runs])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text("\n".join(lines) + "\n")
    records = every.drop(columns=["split_seed", "kind"]).to_dict("records")
    clean = [{key: None if pd.isna(value) else value for key, value in record.items()} for record in records]
    (folder / "report.json").write_text(json.dumps(clean, indent=0) + "\n")
    kept = [
        {name: value for name, value in row.items() if name != "folder"}
        | {"stages": stage_minutes(row), "records": len(table)}
        for row, table in zip(runs, tables, strict=True)
    ]
    (folder / "runs.json").write_text(json.dumps(kept, indent=1) + "\n")
    for row in here:
        if row["kind"] == "lane" and row["split"] == 0:
            copy_pictures(Path(row["folder"]), folder / "pictures", row["dataset"])


def chosen(every: pd.DataFrame, dataset: str, method: str, level: str, metric: str, subset: str) -> pd.DataFrame:
    """Rows of the standardised score of one method, one a run."""
    wanted = {"dataset": dataset, "method": method, "level": level, "metric": metric, "subset": subset}
    mask = every["score"].eq("standardised")
    for key, value in wanted.items():
        mask &= every[key].eq(value)
    return every[mask]


def goals(every: pd.DataFrame) -> Iterable[tuple[str, str, str, float, pd.DataFrame]]:
    """Data set, whose, what, goal and the rows it is judged by."""
    for dataset, rows in MARKS.items():
        for whose, level, metric, subset, goal in rows:
            what = f"{level} {metric}" + ("" if subset == "all" else f", {subset}")
            yield dataset, whose, what, goal, chosen(every, dataset, OWNERS[whose], level, metric, subset)


def marks(every: pd.DataFrame) -> list[str]:
    """The goals and what was measured."""
    lines = [
        "| data set | method | figure | goal | measured | runs | | oracles: best row; fitted weights |",
        "|---|---|---|--:|--:|--:|---|---|",
    ]
    for dataset, whose, what, goal, rows in goals(every):
        head = f"| {dataset} | {title(OWNERS[whose])} | {what} | {number(goal)} |"
        if rows.empty:
            lines.append(f"{head} not measured | 0 | **missed** | |")
            continue
        met = "met" if rows["value"].mean() >= goal else "**missed**"
        lines.append(
            f"{head} {spread(rows)} | {len(rows)} | {met} | {oracle(every, rows) if whose == 'best' else ''} |"
        )
    return lines


def oracle(every: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The row that is best in the figure that ``rows`` hold, over the same runs: chosen by the test itself.

    Behind it, where it was measured, what weights fitted on the test's own labels reach (``quality_runs.FITTED``).
    """
    same = every["score"].eq("standardised") & every["kind"].isin(WITH_CONTROLS)
    for name in ("dataset", "level", "metric", "subset"):
        same &= every[name].eq(rows[name].iloc[0])
    mean = every[same].groupby("method")["value"].mean()
    best = f"{title(str(mean.idxmax()))} {mean.max():.4f}"
    fitted = every[every["method"].eq(split_name(FITTED)[0]) & every["dataset"].eq(rows["dataset"].iloc[0])]
    for name in ("level", "metric", "subset"):
        fitted = fitted[fitted[name].eq(rows[name].iloc[0])]
    return best if fitted.empty else f"{best}; {number(fitted['value'].mean())}"


def marks_sentence(every: pd.DataFrame) -> str:
    """How many goals were met, and where a single control is ahead of the committee."""
    found = [(rows, goal) for *_, goal, rows in goals(every)]
    met = sum(not rows.empty and rows["value"].mean() >= goal for rows, goal in found)
    said = [f"{met} of {len(found)} goals are met."]
    for dataset in dict.fromkeys(every["dataset"]):
        level = PAPER[dataset].level
        own = every[every["dataset"].eq(dataset) & every["level"].eq(level) & every["subset"].eq("all")]
        own = own[own["metric"].eq("auroc") & own["kind"].isin(WITH_CONTROLS) & own["score"].eq("standardised")]
        mean = own.groupby("method")["value"].mean()[::-1]  # of equals a control comes first
        mean = mean.sort_values(ascending=False, kind="stable")
        first = str(mean.index[0])
        method = chosen(every, dataset, "proxyano", level, "auroc", "all")["value"].mean()
        text = f"{DATASETS[dataset].title}: {title(first)} is first with {number(mean.iloc[0])}"
        if kind(first) == "control":
            level_with = mean.get("committee") == mean.iloc[0]
            text += f", a control, ahead of every learned method and {'alone in' if level_with else 'of'} the committee"
        said.append(f"{text}; ProxyAno has {number(method)}, the paper {number(PAPER[dataset].auroc)}.")
    return " ".join(said)


def section(own: pd.DataFrame, dataset: str) -> list[str]:
    """Tables of one data set: every member beside controls and shortcuts, pasted lesions, the audit."""
    level = PAPER[dataset].level
    lanes = own[own["kind"].isin(WITH_CONTROLS) | own["method"].eq("proxyano")]
    lines = [f"## {DATASETS[dataset].title}", ""]
    columns = {("image", "auroc"): "image AUROC", ("image", "auroc_heldout"): "against held-out normals"}
    columns |= {("image", "auroc_adjusted"): "adjusted for shortcuts", ("image", "false_alarm_rate"): "false alarms"}
    if level == "pixel":
        columns = {("pixel", "auroc"): "pixel AUROC", ("pixel", "ap"): "pixel AP"}
    lines += grid(lanes, columns, "all", ("standardised", "value", "mean"))
    lines += [f"*{title('proxyano')} in the paper: {number(PAPER[dataset].auroc)}.*", ""]
    classes = [
        name for name in dict.fromkeys(lanes[lanes["level"].eq(level)]["subset"]) if name not in ("all", REVIEWED)
    ]
    if classes:
        lines += ["**By class**", "", *by_class(lanes, level, classes)]
    seeds = own[own["method"].eq("proxyano") & own["score"].eq("standardised") & own["subset"].eq("all")]
    seeds = seeds[seeds["level"].eq(level) & seeds["metric"].isin(["auroc", "ap", "auroc_heldout"])]
    lines += ["**ProxyAno, run by run**", "", "| split | seed | metric | value [95 %] |", "|--:|--:|---|--:|"]
    for _, row in seeds.iterrows():
        value = f"{number(row['value'])} [{number(row['low'])}, {number(row['high'])}]"
        lines.append(f"| {row['split_seed']} | {row['seed']} | {row['metric']} | {value} |")
    pasted = lanes[lanes["level"].eq("pasted")]
    names = {("pasted", "peak_found"): "peak in the lesion", ("pasted", "pixel_auroc"): "pixel AUROC"}
    names |= {("pasted", "auroc"): "image AUROC"}
    lines += ["", "**Lesions pasted on held-out normals, medium contrast**", ""]
    lines += grid(pasted, names, "medium", ("standardised", "value"))
    reviewed = lanes[lanes["subset"].eq(REVIEWED)]
    if len(reviewed):
        lines += ["**Audit: without the normals that a person found to look abnormal** ([list](audit/README.md))", ""]
        lines += grid(reviewed, {("image", "auroc"): "image AUROC"}, REVIEWED, ("standardised",))
    return lines


def agreement(every: pd.DataFrame) -> list[str]:
    """How well pasted lesions rank what real ones rank: methods, members, committee and controls of each data set."""
    lines = [
        "## Does the synthetic ranking agree with the test?",
        "",
        "Methods, members, committee and controls of one lane, ranked by lesions pasted on held-out normals (medium "
        "contrast) and by the real test; Spearman's ρ over them, mean over splits. A user with own data has only the "
        "first ranking.",
        "",
        "| data set | ranked | scores | ρ | first by pasted lesions | its test figure | first by test |",
        "|---|---|--:|--:|---|--:|---|",
    ]
    for dataset in MARKS:
        level = PAPER[dataset].level
        wanted = ("image", "auroc", "auroc") if level == "image" else ("pixel", "auroc", "pixel_auroc")
        own = every[
            every["dataset"].eq(dataset) & every["kind"].isin(WITH_CONTROLS) & every["score"].eq("standardised")
        ]
        real = own[own["level"].eq(wanted[0]) & own["metric"].eq(wanted[1]) & own["subset"].eq("all")]
        drawn = own[own["level"].eq("pasted") & own["metric"].eq(wanted[2]) & own["subset"].eq("medium")]
        pairs = real.merge(drawn, on=["method", "split_seed"], suffixes=("", "_pasted"))
        if pairs.empty:
            continue
        rho = pairs.groupby("split_seed")[["value", "value_pasted"]].apply(
            lambda part: spearmanr(*part.to_numpy().T)[0]
        )
        mean = pairs.groupby("method")[["value", "value_pasted"]].mean()
        best = str(mean["value_pasted"].idxmax())
        lines.append(
            f"| {dataset} | {level} AUROC | {len(mean)} | {number(float(rho.mean()))} | {title(best)} | "
            f"{number(mean.loc[best, 'value'])} | {title(str(mean['value'].idxmax()))} {number(mean['value'].max())} |"
        )
        lines_of = mean.sort_values("value", ascending=False)
        for method, row in lines_of.iterrows():
            lines.append(
                f"| | {title(str(method))} | | | pasted {number(row['value_pasted'])} | {number(row['value'])} | |"
            )
    return [*lines, ""]


def made(runs: list[dict[str, Any]]) -> list[str]:
    """What was run, and what it took."""
    lines = [
        "## Runs",
        "",
        "Stages: minutes of images, tiles, proxies and training, each from the run that made it. Last: minutes of the "
        "command's last run of this row; the evaluation, and of stages what did not stand yet.",
        "",
        "| data set | what | split | seed | stages, min | last, min | peak GiB | threads | commit | data version |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|---|",
    ]
    for row in runs:
        what = {"lane": "lane", "method": "ProxyAno alone", "committee": "committee and controls"}[row["kind"]]
        spent = f"{row['stages']:.1f}" if row["stages"] else "–"
        lines.append(
            f"| {row['dataset']} | {what} | {row['split']} | {row['seed']} | {spent} | {row['minutes']} | "
            f"{row['peak_gib']} | "
            f"{row['threads']} | {row['commit'][:7]} | {row['data_version']} |"
        )
    return lines


def copy_pictures(version: Path, folder: Path, dataset: str) -> None:
    """Worst misses, worst false alarms, best finds, the audit's sheet and list; pictures as JPEG, at most 1200 px."""
    audit = folder.parent / "audit"
    for target in (folder, audit):
        target.mkdir(parents=True, exist_ok=True)
    panels = [panel for panel in sorted((version / "panels").glob("*.png")) if panel.name.startswith(PICTURES)]
    targets = {panel: folder / f"{dataset}_{panel.stem}.jpg" for panel in panels}
    targets[version / "audit.png"] = audit / f"{dataset}.jpg"
    for source, target in targets.items():
        with Image.open(source) as picture:
            small = picture.convert("RGB")
            small.thumbnail((1200, 1200))
            small.save(target, quality=80)
    shutil.copyfile(version / "audit.csv", audit / f"{dataset}.csv")


if __name__ == "__main__":
    main()
