"""``proxyano refresh``: make what is outdated; say why, and what was spared."""

import logging
from typing import Annotated

import dagster as dg
import typer
from rich.console import Console
from rich.table import Table

from pipeline.wiring.refresh import Outcome, Ran, Refresh, Wave

console = Console()


def refresh(
    select: Annotated[str, typer.Option(help="Dagster asset selection to look at")] = "*evaluation_report",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what is outdated and why")] = False,
) -> None:
    """Observe the raw folders and materialize exactly what is outdated."""
    from pipeline.definitions import defs  # reads the environment, which the command line has completed by now

    logging.getLogger("dagster").setLevel(logging.WARNING)
    with dg.DagsterInstance.get() as instance:
        look = Refresh(defs, instance, select)
        if dry_run:
            _preview(look)
            return
        outcome = look.run(_announce)
        _summarise(look, outcome)
    if outcome.failed:
        raise typer.Exit(1)


def _announce(number: int, wave: Wave, following: int) -> None:
    console.rule(f"wave {number}: {len(wave)} to make, at most {following} to follow", align="left")
    for key, status in wave.items():
        console.print(f"  {key.to_user_string()}: {'; '.join(status.causes)}", highlight=False)


def _preview(look: Refresh) -> None:
    """What a refresh would make first, and what may follow."""
    due, selected = look.due(), look.selected()
    if not due:
        console.print(f"Everything is up to date ({len(selected)} assets): nothing to do.")
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


def _summarise(look: Refresh, outcome: Outcome) -> None:
    """A table of all assets, and the minutes that were saved."""
    if not outcome.ran and not outcome.blocked:
        count, seconds = len(outcome.selected), outcome.seconds
        console.print(f"Everything is up to date ({count} assets): nothing to do. {seconds:.1f} s")
        return
    table = Table("asset", "outcome", "why", "minutes", title="Refreshed")
    saved = 0.0
    for key in outcome.selected:
        name = key.to_user_string()
        if key in outcome.ran:
            ran = outcome.ran[key]
            table.add_row(name, _word(ran), "; ".join(ran.why), f"{ran.seconds / 60:.2f}")
        elif key in outcome.blocked:
            table.add_row(name, "[red]not made[/]", f"{outcome.blocked[key].to_user_string()} failed", "")
        else:
            minutes = float(look.store.noted(look.store.current(name)).get("minutes", 0.0))
            saved += minutes
            table.add_row(name, "[green]spared[/]", "up to date", f"({minutes:.2f})")
    console.print(table)
    made = len(outcome.ran) - len(outcome.failed)
    console.print(
        f"{made} made, {len(outcome.spared)} spared, {len(outcome.failed)} failed, {len(outcome.blocked)} not made, in "
        f"{outcome.waves} waves and {outcome.seconds / 60:.1f} minutes; what was spared had taken {saved:.1f} minutes."
    )
    if outcome.failed:
        console.print("[red]Errors are printed above; finished assets stay. Rerun the same command to resume.[/]")


def _word(ran: Ran) -> str:
    if ran.failed:
        return "[red]failed[/]"
    return "made, content unchanged" if ran.before == ran.after else "made"
