"""``proxyano experiments``: the paper's ablations as rows to list, compare and make."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline.commands.benchmark import made_with_progress
from pipeline.experiments.ablations import changes, described, differences, seedless
from pipeline.experiments.lane import Ablation
from pipeline.reports.ablations.paper import PRINTED
from pipeline.store.versions import Store
from pipeline.wiring.benchmark import Due
from pipeline.wiring.benchmark import run as materialized
from pipeline.wiring.settings import Settings

if TYPE_CHECKING:
    from assets.lane import LaneAssets

app = typer.Typer(no_args_is_help=True, help="The paper's ablations: list them, show what each changes, make them.")
console = Console() if Console().is_terminal else Console(width=200)  # a pipe gets whole names
Name = Annotated[
    str,
    typer.Argument(help="An experiment: oct/si_mem, oct/si_mem-seed1, or si_mem for the first data set that has it"),
]


@app.command(name="list")
def listed() -> None:
    """All experiments: what each changes against its neighbour, its seeds, and where the paper reports it."""
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
                told = [_full(lane, name), row.label, row.score, row.against, changed, seeds, _where(lane, name)]
                table.add_row(*told)
        console.print(table)


@app.command()
def show(name: Name) -> None:
    """One experiment in full: its change, its whole configuration, and who shares its first stage."""
    lane, own = _found(name)
    rows = lane.lane.ablations
    row = rows[own]
    console.print(f"[bold]{_full(lane, own)}[/] {row.label}, seed {row.seed}: {_where(lane, own)}")
    console.print(f"against {row.against or 'nothing'}: {'; '.join(map(str, changes(row, rows))) or 'the first row'}")
    kin = [other for other, each in rows.items() if other != own and _first(each) == _first(row)]
    console.print(f"first stage and proxies shared with: {', '.join(kin) or 'no other'}")
    console.print(f"code version {lane.lane.baseline_version('ablations', own)}")
    table = Table("field", "value")
    for field, value in described(row).items():
        table.add_row(field, str(value))
    console.print(table)


@app.command()
def diff(first: Name, second: Name) -> None:
    """Every field in which two experiments differ."""
    (lane, one), (other_lane, other) = _found(first), _found(second)
    table = Table("field", _full(lane, one), _full(other_lane, other))
    for change in differences(lane.lane.ablations[one], other_lane.lane.ablations[other]):
        table.add_row(change.name, *("–" if v is None else str(v) for v in (change.before, change.after)))
    console.print(table if table.row_count else "They differ in nothing.")


@app.command()
def run(
    names: Annotated[list[str] | None, typer.Argument(help="Experiments as in `list`; none: all of them")] = None,
    workers: Annotated[int, typer.Option(help="Experiments made side by side", min=1)] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing")] = False,
) -> None:
    """Make every missing experiment (or those named) and the report; after any cut the same line goes on."""
    from assets import benchmark as work
    from assets.ablation_report import REPORT
    from assets.ablations import STAGE, missing_ablations

    lanes, settings = _lanes(), Settings()
    chosen = {_full(*_found(name)) for name in names or ()} or {_full(lane, n) for lane in lanes for n in _rows(lane)}
    lanes = [lane for lane in lanes if any(_full(lane, name) in chosen for name in _rows(lane))]
    if not dry_run:
        work.prepare(lanes)
    store = Store(settings.stores)
    lacking = [(lane, name) for lane in lanes for name in missing_ablations(lane, store) if _full(lane, name) in chosen]
    console.print(f"{len(lacking)} of {len(chosen)} experiments are to be made; the others stand.")
    if dry_run:
        for lane, name in lacking:
            console.print(f"{_full(lane, name)}: {_rows(lane)[name].label}")
        return
    due = [Due(dataset=lane.dataset.name, name=name, stages=(STAGE,)) for lane, name in lacking]
    failed = made_with_progress(due, "experiments", settings.home / "experiments", workers, console)
    materialized("dagster", "asset", "materialize", "-m", "pipeline.definitions", "--select", REPORT)
    if failed:
        console.print(f"[red]{len(failed)} failed: {', '.join(failed)}; the same command tries them again.[/]")
        raise typer.Exit(1)


def _rows(lane: "LaneAssets") -> Mapping[str, Ablation]:
    return lane.lane.ablations


def _first(row: Ablation) -> object:
    return row.seed, row.proxies.to_json(), row.training.first_stage().of_stage(row.training.stages[0])


def _lanes() -> "list[LaneAssets]":
    from pipeline.definitions import LANES  # it reads the environment, which the command line has completed by now

    return [lane for lane in LANES if lane.lane.ablations]


def _full(lane: "LaneAssets", name: str) -> str:
    return f"{lane.dataset.name}/{name}"


def _where(lane: "LaneAssets", name: str) -> str:
    own = seedless(name)
    held = [one for one in PRINTED if one.dataset == lane.raw_name and own in {entry.name for entry in one.entries}]
    study = _rows(lane)[name].study
    found = [one.title.partition(":")[0] for one in held] or [f"study: {study}" if study else ""]
    return ", ".join(dict.fromkeys(found))


def _found(name: str) -> "tuple[LaneAssets, str]":
    """The lane and the row of a name; exit code 2 and the known names where there is none."""
    dataset, _, own = name.rpartition("/")
    lanes = _lanes()
    for lane in sorted(lanes, key=lambda lane: len(lane.lane.ablations), reverse=True):
        if own in lane.lane.ablations and dataset in ("", lane.dataset.name):
            return lane, own
    known = ", ".join(_full(lane, each) for lane in lanes for each in lane.lane.ablations)
    console.print(f"Expected an experiment, one of {known}; got {name!r}. See: proxyano experiments list")
    raise typer.Exit(2)
