"""``proxyano benchmark``: every run that is missing or outdated, with progress, and the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.store.versions import Store
from pipeline.wiring.benchmark import Due, make
from pipeline.wiring.settings import Settings

console = Console()


def benchmark(
    workers: Annotated[int, typer.Option(help="Runs made side by side, each on its share of the cores", min=1)] = 1,
    dataset: Annotated[str, typer.Option(help="Only this data set (brain_mri, oct, idrid, oct_plain)")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing")] = False,
) -> None:
    """Train and score every missing run of the benchmark and nothing else, then make its report."""
    from assets import benchmark as work  # reads the environment, which the command line has completed by now
    from pipeline.definitions import LANES

    lanes = [lane for lane in LANES if dataset in ("", lane.dataset.name) and lane.lane.baselines]
    if not lanes:
        names = ", ".join(lane.dataset.name for lane in LANES if lane.lane.baselines)
        console.print(f"--dataset: expected one of {names}, got {dataset!r}")
        raise typer.Exit(2)
    settings = Settings()
    if not dry_run:
        work.prepare(lanes)
    wanted = work.due(lanes, Store(settings.stores))
    total = sum(len(lane.lane.baselines) for lane in lanes)
    if dry_run:
        table = Table("data set", "run", "to make", title=f"{len(wanted)} of {total} runs")
        for each in wanted:
            table.add_row(each.dataset, each.name, ", ".join(each.stages))
        console.print(table)
        return
    console.print(f"{len(wanted)} of {total} runs are to be made; the others are up to date.")
    make_and_report(wanted, work.REPORT, settings.home / "benchmark", workers, console)


def make_and_report(wanted: Sequence[Due], report: str, logs: Path, workers: int, shown: Console) -> None:
    """Make all runs with a progress bar, then the report; exit 1 if a run failed."""
    from assets import benchmark as work

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    failed = []
    with Progress(*columns, console=shown) as progress:
        task = progress.add_task(report.removesuffix("_report"), total=len(wanted))
        show = lambda each: progress.update(task, description=each.title)  # noqa: E731
        for made in make(wanted, logs, workers=workers, started=show):
            word = "[red]FAILED[/]" if made.failed else "made"
            progress.console.print(f"{made.due.title}: {word} in {made.seconds / 60:.1f} minutes ({made.log})")
            progress.advance(task)
            failed += [made.due.title] if made.failed else []
    work.report(report)
    if failed:
        shown.print(f"[red]{len(failed)} failed: {', '.join(failed)}; rerun the same command to try them again.[/]")
        raise typer.Exit(1)
