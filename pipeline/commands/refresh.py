"""``proxyano refresh`` and ``proxyano results``: make what is outdated, here or for several seeds and splits."""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, product, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from models.arithmetic import thread_share
from pipeline.commands.terminal import counted, stop
from pipeline.errors import ConfigError
from pipeline.wiring.settings import Settings

if TYPE_CHECKING:
    from pipeline.reports.results import Result, Run
    from pipeline.wiring.refresh import Outcome, Refresh, Wave

console = Console()


def refresh(
    select: Annotated[str, typer.Option(help="Dagster asset selection to look at")] = "*evaluation_report",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what is outdated and why")] = False,
) -> None:
    """Observe the raw folders and materialize exactly what is outdated."""
    settings = Settings()
    console.rule(f"ProxyAno · preset {settings.presets} · raw {settings.raw_url or settings.raw_root}")
    if settings.raw and not settings.raw_url and not settings.raw_root.is_dir():
        got = "a file" if settings.raw_root.exists() else "nothing"
        stop(f"PROXYANO_RAW: expected a folder with brain_mri/, oct/ or idrid/, got {got} at {settings.raw_root}")
    # The imports below take up to five seconds, so they come after the first line on the screen.
    from pipeline.wiring.doctor_checks import dagster, tracking

    for found in (dagster(Path(os.environ["DAGSTER_HOME"])), tracking(settings.tracking_uri)):
        if found.state == "problem":
            stop(f"{found.name}: {found.found}; {found.remedy}", code=1)
    import dagster as dg

    from pipeline.definitions import defs
    from pipeline.wiring.refresh import Refresh

    logging.getLogger("dagster").setLevel(logging.WARNING)
    with dg.DagsterInstance.get() as instance:
        look = Refresh(defs, instance, select)
        try:
            look.selected()
        except ConfigError as error:
            stop(error)
        if dry_run:
            _preview(look)
            return
        outcome = look.run(_announce)
        _summarise(look, outcome)
    if outcome.failed:
        raise typer.Exit(1)


def _announce(number: int, wave: "Wave", following: int) -> None:
    console.rule(f"wave {number}: {len(wave)} to make, at most {following} to follow", align="left")
    for key, status in wave.items():
        console.print(f"  {key.to_user_string()}: {'; '.join(status.causes)}", highlight=False, soft_wrap=True)


def _preview(look: "Refresh") -> None:
    """What a refresh would make first, and what may follow."""
    due, selected = look.due(), look.selected()
    if not due:
        console.print(f"Everything is up to date ({counted(len(selected), 'asset')}): nothing to do.")
        return
    table = Table("asset", "status", "why", title="Outdated")
    for key in selected:
        if key in due:
            table.add_row(key.to_user_string(), due[key].status, "; ".join(due[key].causes))
        elif above := look.above(key) & due.keys():
            first = next(other for other in due if other in above)
            table.add_row(key.to_user_string(), "may follow", f"if the content of {first.to_user_string()} changes")
    console.print(table)
    console.print("Nothing was made; without --dry-run these assets are made, wave by wave.")


def _summarise(look: "Refresh", outcome: "Outcome") -> None:
    """A table of all assets, and the minutes that were saved."""
    for reason in outcome.removed:
        console.print(f"removed: {reason}", highlight=False, soft_wrap=True)
    if not outcome.ran and not outcome.blocked:
        count, seconds = len(outcome.selected), outcome.seconds
        console.print(f"Everything is up to date ({counted(count, 'asset')}): nothing to do. {seconds:.1f} s")
        return
    table = Table("asset", "outcome", "why", "minutes", title="Refreshed")
    saved = 0.0
    for key in outcome.selected:
        name = key.to_user_string()
        if key in outcome.ran:
            ran = outcome.ran[key]
            word = "made, content unchanged" if ran.before == ran.after else "made"
            word = "[red]failed[/]" if ran.failed else word
            table.add_row(name, word, "; ".join(ran.why), f"{ran.seconds / 60:.2f}")
        elif key in outcome.blocked:
            table.add_row(name, "[red]not made[/]", f"{outcome.blocked[key].to_user_string()} failed", "")
        else:
            minutes = float(
                look.store.noted(look.store.known(name, look.store.pointed(name) or "")).get("minutes", 0.0)
            )
            saved += minutes
            table.add_row(name, "[green]skipped[/]", "up to date", f"({minutes:.2f})")
    console.print(table)
    numbers_of = {"made": len(outcome.ran) - len(outcome.failed), "skipped": len(outcome.skipped)}
    numbers_of |= {"failed": len(outcome.failed), "not made": len(outcome.blocked)}
    counts = ", ".join(f"{count} {word}" for word, count in numbers_of.items())
    taken = f"in {counted(outcome.waves, 'wave')} and {outcome.seconds / 60:.1f} minutes"
    console.print(f"{counts}, {taken}" + (f"; the skipped ones had taken {saved:.1f} minutes." if saved else "."))
    if outcome.failed:
        console.print("[red]Errors are printed above; finished assets stay. Rerun the same command to resume.[/]")


def results(
    datasets: Annotated[list[str] | None, typer.Argument(help="Data sets; all public ones where none is named")] = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated training seeds")] = "0",
    splits: Annotated[str, typer.Option(help="Comma-separated seeds of the split; OCT's is fixed")] = "0",
    into: Annotated[Path | None, typer.Option(help="Folder of the tables; default: results/ in the home")] = None,
    workers: Annotated[int, typer.Option(help="Runs made side by side, each on its share of the cores", min=1)] = 1,
    compare: Annotated[Path | None, typer.Option(help="Published results.json to compare with")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the runs")] = False,
) -> None:
    """Refresh the evaluation of each data set, seed and split, then write results.json, tables and pictures.

    The configured seed and split use the current home; every other pair gets one below ``seeds/``. Rerun the
    same command to resume.
    """
    from pipeline.data.datasets import DATASETS
    from pipeline.reports.results import Run, publish_results, read_results

    settings = Settings()
    published = None if compare is None else read_results(compare)
    names = list(datasets or DATASETS)
    if unknown := sorted(set(names) - set(DATASETS)):
        console.print(f"expected some of {', '.join(DATASETS)}, got {', '.join(unknown)}")
        raise typer.Exit(2)
    pairs = list(product(numbers(seeds, "--seeds"), numbers(splits, "--splits")))
    runs = [Run(home_of(settings, *pair), name, *pair) for name in names for pair in pairs]
    titles = [f"{run.dataset}, seed {run.seed}, split {run.split}" for run in runs]
    if dry_run:
        for title, run in zip(titles, runs, strict=True):
            console.print(f"{title} ({run.home})", soft_wrap=True)
        return
    with ThreadPoolExecutor(workers) as pool:
        codes = pool.map(_refresh, count(1), runs, repeat(workers))
        failed = [title for title, code in zip(titles, codes, strict=True) if code]
    folder = into or settings.home / "results"
    found = publish_results(runs, folder)
    console.print(f"{len(found)} results: {folder / 'tables.md'}", soft_wrap=True)
    if failed:
        console.print(f"[red]failed: {'; '.join(failed)}[/]; rerun the same command to resume")
        raise typer.Exit(1)
    if published is not None and not agree(found, published, str(compare)):
        raise typer.Exit(1)


def home_of(settings: Settings, seed: int, split: int) -> Path:
    """Home of a training seed and a split's seed: the current one for those that are configured."""
    own = (seed, split) == (settings.seed, settings.split_seed)
    return settings.home if own else settings.home / "seeds" / f"seed{seed}-split{split}"


def agree(found: "Sequence[Result]", published: "Sequence[Result]", name: str) -> bool:
    """Print how many published figures agree with those found here, and each that does not."""
    from pipeline.reports.results import KEYS, compare

    figures = compare(found, published)
    apart = figures[~figures["agrees"]]
    table = Table("figure", "published", "here")
    for _, one in apart.iterrows():
        bounds = "" if one["low"] != one["low"] else f" [{one['low']:.3f}, {one['high']:.3f}]"
        here = "none" if one["here"] != one["here"] else f"{one['here']:.3f}"
        table.add_row(" ".join(str(one[key]) for key in KEYS), f"{one['value']:.3f}{bounds}", here)
    if len(apart):
        console.print(table)
    console.print(f"{len(figures) - len(apart)} of {len(figures)} figures agree with {name}.", soft_wrap=True)
    return len(figures) > 0 and not len(apart)


def numbers(text: str, option: str) -> list[int]:
    """Comma-separated numbers of an option; exit code 2 for anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() for word in words):
        console.print(f"{option}: expected numbers with commas, such as 0,1,2, got {text!r}")
        raise typer.Exit(2)
    return list(dict.fromkeys(map(int, words)))


def _refresh(number: int, run: "Run", workers: int) -> int:
    """Exit code of a refresh in the run's home, which reads the raw files of these settings.

    With several ``workers`` each gets its share of the cores, and its output goes to a file.
    """
    title = f"{run.dataset}, seed {run.seed}, split {run.split}"
    (run.home / "dagster").mkdir(parents=True, exist_ok=True)
    changed = Settings().of_run(run.home, run.seed, run.split)
    command = [sys.executable, "-m", "pipeline.cli", "refresh", "--select", f"*{run.dataset}/evaluation"]
    if workers == 1:
        console.rule(f"{number}: {title}", align="left")
        return subprocess.run(command, env=os.environ | changed, check=False).returncode
    log = run.home / "results" / f"{run.dataset}.log"
    log.parent.mkdir(exist_ok=True)
    console.print(f"{number}: {title} begins ({log})", soft_wrap=True)
    environment = thread_share(workers) | os.environ | changed  # the user's own thread settings win
    with log.open("ab") as output:
        code = subprocess.run(command, env=environment, stdout=output, stderr=output, check=False).returncode
    console.print(f"{number}: {title} {'[red]failed[/]' if code else 'is made'}")
    return code
