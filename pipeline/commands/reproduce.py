"""``proxyano reproduce``: everything that a page of results rests on, with a plan before and true times after."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.arithmetic import thread_share
from pipeline.commands.refresh import agree, home_of, numbers
from pipeline.commands.terminal import console_of, stop
from pipeline.wiring.settings import Settings

if TYPE_CHECKING:
    from assets.benchmark import Due
    from assets.reproduce import Step
    from pipeline.reports.progress_page import Shown
    from pipeline.reports.results import Result

console = console_of()
Planned = list[tuple["Step", "Shown"]]


def reproduce(
    datasets: Annotated[list[str] | None, typer.Argument(help="Data sets; all of them where none is named")] = None,
    part: Annotated[
        list[str] | None, typer.Option(help="lanes, benchmark, ablations or robustness; repeat it for several")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated training seeds")] = "0,1,2",
    hours: Annotated[float, typer.Option(help="Leave out what would end later; 0: nothing", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Runs made side by side, each on its share of the cores", min=1)] = 1,
    into: Annotated[Path | None, typer.Option(help="Folder of the tables; default: results/ in the home")] = None,
    compare: Annotated[Path | None, typer.Option(help="Published results.json to compare with")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan")] = False,
) -> None:
    """Make every outdated run of lanes, benchmark, ablations and disturbed images, then results.json and tables.

    ``reproduce.html`` in the home shows how far it is. Rerun the same command to resume.
    """
    from pipeline.reports.results import read_results
    from pipeline.reports.run_results import PARTS

    settings, parts, chosen = Settings(), list(part or PARTS), numbers(seeds, "--seeds")
    if unknown := sorted(set(parts) - set(PARTS)):
        stop(f"--part: expected some of {', '.join(PARTS)}, got {', '.join(unknown)}")
    published = None if compare is None else read_results(compare)
    planned = _plan(settings, parts, chosen, datasets or [], hours, workers)
    if dry_run:
        return
    end = time.monotonic() + 3600 * hours if hours else float("inf")
    _make(planned, settings.home, workers, end)
    found = _publish(settings, parts, chosen, into or settings.home / "results")
    every = [shown for _, shown in planned]
    _print_times(every)
    failed = [f"{shown.part} {shown.title}" for shown in every if shown.state == "failed"]
    if failed:
        console.print(f"[red]{len(failed)} failed: {', '.join(failed)}; rerun the same command to try them again.[/]")
    if failed or (published is not None and not agree(found, published, str(compare))):
        raise typer.Exit(1)


def _plan(
    settings: Settings,
    parts: Sequence[str],
    seeds: Sequence[int],
    datasets: Sequence[str],
    hours: float,
    workers: int,
) -> Planned:
    """Print and return all steps with their estimates; those that do not fit into the hours are left out."""
    from assets.estimate import Estimator
    from assets.reproduce import plan
    from pipeline.definitions import lanes_of
    from pipeline.reports.progress_page import Shown
    from pipeline.store.versions import Store

    homes = {seed: home_of(settings, seed, settings.split_seed) for seed in seeds}
    stores = [Store(home / "stores") for home in dict.fromkeys((settings.home, *homes.values()))]
    threads = int(os.environ.get("OMP_NUM_THREADS") or thread_share(workers)["OMP_NUM_THREADS"])
    estimator, planned, sum_ = Estimator(stores, threads), Planned(), 0.0
    with console.status("Estimating …"):
        steps = plan(settings, lanes_of, homes.__getitem__, parts, seeds)
        known = list(dict.fromkeys(step.due.dataset for step in steps))
        if unknown := sorted(set(datasets) - set(known)):
            stop(f"expected some of {', '.join(known)}, got {', '.join(unknown)}")
        for step in (one for one in steps if one.due.dataset in (datasets or known)):
            minutes, ground = estimator.minutes(step)
            sum_ += minutes / workers
            log = settings.home / "reproduce" / step.part / f"{step.due.dataset}-{step.due.name}.log"
            shown = Shown(part=step.part, title=step.due.title, estimated=minutes, ground=ground, log=log)
            shown.state = "left out" if hours and sum_ > 60 * hours else "waits"
            planned.append((step, shown))
    table = Table("part", "data set", "seed", "runs", "minutes", "estimate", "", title="Plan, the most important first")
    for (seed, _, _), name, dataset, rows in _grouped(planned):
        grounds = ", ".join(dict.fromkeys(shown.ground for shown in rows))
        out = sum(shown.state == "left out" for shown in rows)
        left = f"{out} left out by --hours {hours:g}" if out else ""
        total = f"{sum(shown.estimated for shown in rows):.1f}"
        table.add_row(name, dataset, str(seed), str(len(rows)), total, grounds, left)
    console.print(table)
    kept = sum(shown.estimated for _, shown in planned if shown.state == "waits") / workers / 60
    measured = f"{len(estimator.speeds)} kinds of training were measured here"
    console.print(f"{kept:.2f} hours with {workers} workers, of {sum_ / 60:.2f} in all; {measured}.", soft_wrap=True)
    return planned


def _grouped(planned: Planned) -> "Iterator[tuple[tuple[int, int, int], str, str, list[Shown]]]":
    """Steps of the same order, part and data set that follow one another."""
    for (order, name, dataset), rows in groupby(
        planned, lambda pair: (pair[0].order, pair[1].part, pair[0].due.dataset)
    ):
        yield order, name, dataset, [shown for _, shown in rows]


def _make(planned: Planned, home: Path, workers: int, end: float) -> None:
    """Make the steps that wait, with a bar here and the page in the home."""
    from pipeline.reports.progress_page import write_progress

    page, every = home / "reproduce.html", [shown for _, shown in planned]
    about = f"Home {home}, {workers} workers."
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    console.print(f"Progress: {page}", soft_wrap=True)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("reproduce", total=sum(shown.state == "waits" for shown in every))
        for shown in _made(planned, workers, end, lambda: write_progress(page, every, about, going=True)):
            word = "[red]FAILED[/]" if shown.state == "failed" else "made"
            minutes = f"{shown.minutes:.1f} minutes, estimated {shown.estimated:.1f}"
            progress.console.print(f"{shown.part}: {shown.title} {word} in {minutes} ({shown.log})", soft_wrap=True)
            progress.update(task, advance=1, description=shown.part)
    write_progress(page, every, about, going=False)


def _made(planned: Planned, workers: int, end: float, changed: Callable[[], None]) -> "Iterator[Shown]":
    """Each step as it ends; before one begins it is asked whether it will end in time."""
    from assets.benchmark import make

    waiting = [(step, shown) for step, shown in planned if shown.state == "waits"]
    of = {id(step.due): shown for step, shown in waiting}

    def in_time(due: "Due") -> bool:
        shown = of[id(due)]
        shown.state = "runs" if time.monotonic() + 60 * shown.estimated <= end else "left out"
        changed()
        return shown.state == "runs"

    changed()
    for _, group in groupby(waiting, lambda pair: pair[0].order):
        steps = list(group)
        logs = steps[0][1].log.parent
        for made in make([step.due for step, _ in steps], logs, workers=workers, wanted=in_time):
            shown = of[id(made.due)]
            shown.state, shown.minutes = "failed" if made.failed else "made", made.seconds / 60
            changed()
            yield shown


def _publish(settings: Settings, parts: Sequence[str], seeds: Sequence[int], folder: Path) -> "list[Result]":
    """Make the reports, then write the folder from what the homes hold."""
    from assets.benchmark import report
    from pipeline.data.datasets import DATASETS
    from pipeline.reports.results import Result, Run, publish_results
    from pipeline.reports.run_results import LANES, REPORTS, ROBUSTNESS, STAGES, read_claims, robustness_rows, run_rows

    homes, split = {seed: home_of(settings, seed, settings.split_seed) for seed in seeds}, settings.split_seed
    runs = [Run(homes[seed], name, seed, split) for name in DATASETS for seed in seeds]
    store, rows, claims = settings.store, list[Result](), list[Result]()
    for name, asset in REPORTS.items():
        if name in parts and any(settings.stores.glob(f"current/*/{STAGES[name][0]}/*.json")):
            report(asset)
            rows += run_rows(store, name, settings.split_seed)
            claims += read_claims(store, name)
    if ROBUSTNESS in parts:
        rows += [row for run in runs for row in robustness_rows(run.store, run.dataset, run.split)]
    found = publish_results(runs if LANES in parts else [], folder, rows, claims)
    console.print(f"{len(found)} results, {len(claims)} claims: {folder / 'tables.md'}", soft_wrap=True)
    return found


def _print_times(every: "Sequence[Shown]") -> None:
    from pipeline.reports.progress_page import part_sums

    table = Table("part", "made", "left", "minutes estimated", "true", "ratio", title="Estimated and true")
    for one in part_sums(every):
        ratio = "–" if one.ratio is None else f"{one.ratio:.2f}"
        table.add_row(one.name, str(one.done), str(one.left), f"{one.estimated:.1f}", f"{one.minutes:.1f}", ratio)
    console.print(table)
