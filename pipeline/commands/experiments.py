"""``proxyano benchmark`` and ``proxyano experiments``: runs of the benchmark and of the paper's ablations."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.commands.terminal import console_of
from pipeline.wiring.settings import Settings

if TYPE_CHECKING:
    from assets.benchmark import Due
    from assets.stage import LaneAssets
    from pipeline.experiments.lane import Ablation

console = console_of()
_NAME = "An experiment: oct/si_mem, oct/si_mem-seed1, or si_mem for the first data set that has it"
Name = Annotated[str, typer.Argument(help=_NAME)]


def benchmark(
    workers: Annotated[int, typer.Option(help="Runs made side by side, each on its share of the cores", min=1)] = 1,
    dataset: Annotated[str, typer.Option(help="Only this data set (brain_mri, oct, idrid, oct_plain)")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing")] = False,
) -> None:
    """Train and score every missing run of the benchmark and nothing else, then make its report."""
    from assets import benchmark as work  # reads the environment, which the command line has completed by now
    from pipeline.definitions import LANES

    every = [lane for lane in LANES if lane.lane.baselines]
    lanes = [lane for lane in every if dataset in ("", lane.dataset.name)]
    if not lanes:
        console.print(f"--dataset: expected one of {', '.join(lane.dataset.name for lane in every)}, got {dataset!r}")
        raise typer.Exit(2)
    settings = Settings()
    if not dry_run:
        work.prepare(lanes)
    wanted = work.due(lanes, settings.store)
    total = sum(len(lane.lane.baselines) for lane in lanes)
    if dry_run:
        table = Table("data set", "run", "to make", title=f"{len(wanted)} of {total} runs")
        for each in wanted:
            table.add_row(each.dataset, each.name, ", ".join(each.stages))
        console.print(table)
        return
    console.print(f"{len(wanted)} of {total} runs are to be made; the others are up to date.")
    _make_and_report(wanted, work.REPORT, settings.home / "benchmark", workers)


def _make_and_report(wanted: "Sequence[Due]", report: str, logs: Path, workers: int) -> None:
    """Make all runs with a progress bar, then the report; exit 1 if a run failed."""
    from assets import benchmark as work

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    failed = []
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(report.removesuffix("_report"), total=len(wanted))
        show = lambda each: progress.update(task, description=each.title)  # noqa: E731
        for made in work.make(wanted, logs, workers=workers, started=show):
            word = "[red]FAILED[/]" if made.failed else "made"
            progress.console.print(f"{made.due.title}: {word} in {made.seconds / 60:.1f} minutes ({made.log})")
            progress.advance(task)
            failed += [made.due.title] if made.failed else []
    work.report(report)
    if failed:
        console.print(f"[red]{len(failed)} failed: {', '.join(failed)}; rerun the same command to try them again.[/]")
        raise typer.Exit(1)


def list_() -> None:
    """All experiments: what each changes against its neighbour, its seeds, and where the paper reports it."""
    from pipeline.experiments.ablations import changes, seedless

    for lane in _lanes():
        rows = lane.lane.ablations
        table = Table(title=lane.dataset.title)
        table.add_column("experiment", no_wrap=True)
        for title in ("what", "score", "against", "changes", "seeds", "reported in"):
            table.add_column(title)
        for name, row in rows.items():
            if name == seedless(name):
                changed = "; ".join(map(str, changes(row, rows)))
                seeds = ", ".join(str(each.seed) for other, each in rows.items() if seedless(other) == name)
                full = _full(lane, name)
                table.add_row(full, row.label, row.score, row.against, changed, seeds, _reported(lane, name))
        console.print(table)


def show(name: Name) -> None:
    """One experiment in full: its change, its whole configuration, and who shares its first stage."""
    from pipeline.experiments.ablations import changes, described

    lane, own = _found(name)
    rows = lane.lane.ablations
    row = rows[own]
    console.print(f"[bold]{_full(lane, own)}[/] {row.label}, seed {row.seed}: {_reported(lane, own)}")
    console.print(f"against {row.against or 'nothing'}: {'; '.join(map(str, changes(row, rows))) or 'the first row'}")
    kin = [other for other, each in rows.items() if other != own and _first_stage(each) == _first_stage(row)]
    console.print(f"first stage and proxies shared with: {', '.join(kin) or 'no other'}")
    console.print(f"code version {lane.code_version('ablations', own)}")
    table = Table("field", "value")
    for field, value in described(row).items():
        table.add_row(field, str(value))
    console.print(table)


def diff(first: Name, second: Name) -> None:
    """Every field in which two experiments differ."""
    from pipeline.experiments.ablations import differences

    (lane, one), (other_lane, other) = _found(first), _found(second)
    table = Table("field", _full(lane, one), _full(other_lane, other))
    for change in differences(lane.lane.ablations[one], other_lane.lane.ablations[other]):
        table.add_row(change.name, *("–" if v is None else str(v) for v in (change.before, change.after)))
    console.print(table if table.row_count else "They differ in nothing.")


def run(
    names: Annotated[list[str] | None, typer.Argument(help="Experiments as in `list`; none: all of them")] = None,
    workers: Annotated[int, typer.Option(help="Experiments made side by side", min=1)] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing")] = False,
) -> None:
    """Make missing experiments (or those named), then the report. Rerun the same command to resume."""
    from assets import benchmark as work
    from pipeline.reports.ablations.report import ASSET as REPORT

    every, settings = _lanes(), Settings()
    labels = {_full(lane, name): row.label for lane in every for name, row in lane.lane.ablations.items()}
    chosen = {_full(*_found(name)) for name in names or labels}
    lanes = [lane for lane in every if any(_full(lane, name) in chosen for name in lane.lane.ablations)]
    if not dry_run:
        work.prepare(lanes)
    due = {f"{each.dataset}/{each.name}": each for each in work.due(lanes, settings.store, ["ablations"])}
    due = {name: each for name, each in due.items() if name in chosen}
    console.print(f"{len(due)} of {len(chosen)} experiments are to be made; the others are up to date.")
    if not dry_run:
        _make_and_report(list(due.values()), REPORT, settings.home / "experiments", workers)
        return
    for name in due:
        console.print(f"{name}: {labels[name]}")


def _first_stage(row: "Ablation") -> object:
    return row.seed, row.proxies.to_json(), row.training.first_stage().of_stage(row.training.stages[0])


def _lanes() -> "list[LaneAssets]":
    from pipeline.definitions import LANES  # reads the environment, which the command line has completed by now

    return [lane for lane in LANES if lane.lane.ablations]


def _full(lane: "LaneAssets", name: str) -> str:
    return f"{lane.dataset.name}/{name}"


def _reported(lane: "LaneAssets", name: str) -> str:
    """The paper's tables and figures with the experiment."""
    from pipeline.experiments.ablations import seedless
    from pipeline.reports.kit.paper import PRINTED

    own = seedless(name)
    printed = [one for one in PRINTED if one.dataset == lane.raw_name and own in {entry.name for entry in one.entries}]
    return ", ".join(dict.fromkeys(one.title.partition(":")[0] for one in printed))


def _found(name: str) -> "tuple[LaneAssets, str]":
    """The lane and the row of a name; exit code 2 and the known names if there is none."""
    dataset, _, own = name.rpartition("/")
    lanes = _lanes()
    for lane in sorted(lanes, key=lambda lane: len(lane.lane.ablations), reverse=True):
        if own in lane.lane.ablations and dataset in ("", lane.dataset.name):
            return lane, own
    known = ", ".join(_full(lane, each) for lane in lanes for each in lane.lane.ablations)
    console.print(f"Expected an experiment, one of {known}; got {name!r}. See: proxyano experiments list")
    raise typer.Exit(2)
