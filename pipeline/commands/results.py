"""``proxyano results``: evaluate lanes with several seeds and splits, and write one table over them."""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.errors import ConfigError
from pipeline.wiring.settings import Settings

console = Console()


def results(
    datasets: Annotated[list[str] | None, typer.Argument(help="Data sets; all public ones where none is named")] = None,
    seeds: Annotated[str, typer.Option(help="Training seeds, with commas")] = "0",
    splits: Annotated[str, typer.Option(help="Seeds of the split, with commas; OCT and IDRiD have fixed splits")] = "0",
    into: Annotated[Path | None, typer.Option(help="Folder of the tables; default: results/ in the home")] = None,
    add: Annotated[bool, typer.Option("--add", help="Average with the folder's results of other seeds")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the runs")] = False,
) -> None:
    """Refresh the evaluation of each data set, seed and split, then write results.json, tables and pictures.

    The settings' own seed and split use the home; every other pair has a home of its own below ``seeds/``. Rerun the
    same command to resume.
    """
    from pipeline.data.datasets import DATASETS
    from pipeline.reports.results import Run, publish_results

    settings = Settings()
    names = list(datasets or DATASETS)
    if unknown := sorted(set(names) - set(DATASETS)):
        console.print(f"expected some of {', '.join(DATASETS)}, got {', '.join(unknown)}")
        raise typer.Exit(2)
    pairs = list(product(_numbers(seeds, "--seeds"), _numbers(splits, "--splits")))
    runs = [Run(_home(settings, seed, split), name, seed, split) for name in names for seed, split in pairs]
    failed = []
    for number, run in enumerate(runs, start=1):
        title = f"{run.dataset}, seed {run.seed}, split {run.split}"
        console.rule(f"{number} of {len(runs)}: {title}" + (f" ({run.home})" if dry_run else ""), align="left")
        if not dry_run and _refresh(run.home, run.dataset, run.seed, run.split):
            failed.append(title)
    if dry_run:
        return
    folder = into or settings.home / "results"
    try:
        found = publish_results(runs, folder, add=add)
    except ConfigError as error:
        console.print(f"[red]{error}[/]")
        raise typer.Exit(2) from None
    console.print(f"{len(found)} results: {folder / 'tables.md'}", soft_wrap=True)
    if failed:
        console.print(f"[red]failed: {'; '.join(failed)}[/]; rerun the same command to resume")
        raise typer.Exit(1)


def _numbers(text: str, option: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() for word in words):
        console.print(f"{option}: expected numbers with commas, such as 0,1,2, got {text!r}")
        raise typer.Exit(2)
    return list(dict.fromkeys(map(int, words)))


def _home(settings: Settings, seed: int, split: int) -> Path:
    own = (settings.seed, settings.split_seed)
    return settings.home if (seed, split) == own else settings.home / "seeds" / f"seed{seed}-split{split}"


def _refresh(home: Path, dataset: str, seed: int, split: int) -> int:
    """Exit code of a refresh in that home, which reads the raw files of these settings."""
    (home / "dagster").mkdir(parents=True, exist_ok=True)
    changed = {"PROXYANO_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
    changed |= {"PROXYANO_SEED": str(seed), "PROXYANO_SPLIT_SEED": str(split)}
    command = [sys.executable, "-m", "pipeline.cli", "refresh", "--select", f"*{dataset}/evaluation"]
    return subprocess.run(command, env=os.environ | changed, check=False).returncode
