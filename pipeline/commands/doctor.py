"""``proxyano doctor``: check the environment and print each finding with its remedy; changes nothing."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Column, Table

from pipeline.commands.terminal import console_of
from pipeline.errors import ConfigError
from pipeline.store.versions import Store
from pipeline.wiring.doctor_checks import (
    Finding,
    dagster,
    hardware,
    home,
    packages,
    python,
    raw,
    stores,
    tracking,
)
from pipeline.wiring.doctor_remote import bucket, cluster, raw_bucket
from pipeline.wiring.settings import Settings

COLOURS = {"ok": "green", "warn": "yellow", "problem": "red"}
MEANT_FOR_A_GPU = ("paper",)


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON")] = False) -> None:
    """Check versions, folders, raw data, hardware and services; exit 1 if something would stop a run."""
    console, findings = console_of(), list[Finding]()
    for each in examine():
        findings.append(each)
        if not as_json:
            console.print(_lines(each), highlight=False)
    problems, warnings = (sum(each.state == state for each in findings) for state in ("problem", "warn"))
    if as_json:
        typer.echo(json.dumps({"ok": not problems, "findings": [asdict(each) for each in findings]}, indent=1))
        raise typer.Exit(1 if problems else 0)
    console.print(
        f"{_counted(problems, 'problem')}, {_counted(warnings, 'warning')}."
        if problems or warnings
        else "[green]All is well.[/]"
    )
    raise typer.Exit(1 if problems else 0)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _lines(found: Finding) -> Table:
    """State, name and what was found; the remedy stands below."""
    table = Table.grid(Column(width=7), Column(width=14), Column(overflow="fold"), padding=(0, 1))
    table.add_row(f"[{COLOURS[found.state]}]{found.state}[/]", escape(found.name), escape(found.found))
    if found.remedy:
        table.add_row("", "", f"→ {escape(found.remedy)}")
    return table


def own_data(file: Path) -> Finding:
    """Whether the description of a data set of the user's own can be read, and its folders are there."""
    from pipeline.data.user_datasets.dataset import read_own  # takes a second

    name = f"own {file.stem}"
    try:
        missing = [str(root.folder) for root in read_own(file).roots if not root.folder.is_dir()]
    except ConfigError as error:
        return Finding(name, "problem", str(error), f"correct {file}, or: proxyano dataset remove {file.stem}")
    if missing:
        return Finding(name, "problem", f"no folder at {', '.join(missing)}", f"correct {file}")
    return Finding(name, "ok", f"described in {file}")


def examine() -> Iterator[Finding]:
    """All findings, in the order in which a run would meet them."""
    yield python()
    yield packages()
    from pipeline.data.datasets import DATASETS  # these take seconds
    from pipeline.data.user_datasets.dataset import own_files
    from pipeline.experiments.presets import PRESETS

    try:
        settings = Settings()
    except ValidationError as error:
        for wrong in error.errors():
            variable, found = wrong["loc"][0] if wrong["loc"] else "settings", f"{wrong['msg']}; got {wrong['input']!r}"
            yield Finding(name=str(variable), state="problem", found=found, remedy=f"unset or correct {variable}")
        return
    yield home(settings.home)
    if settings.preset_name in PRESETS:
        chosen = "" if settings.preset else " (by default)"
        shown = f"{settings.presets}{chosen}, seed {settings.seed}"
        yield Finding(name="preset", state="ok", found=shown)
    else:
        remedy = f"set PROXYANO_PRESET to one of {', '.join(sorted(PRESETS))}"
        yield Finding(name="preset", state="problem", found=f"{settings.preset_name!r} is unknown", remedy=remedy)
    archives = settings.home / "fingerprints" / "archives"
    for name, dataset in DATASETS.items():
        if settings.raw_url:
            yield raw_bucket(f"{settings.raw_url}/{name}", name)
        else:
            yield raw(dataset, settings.raw_root / name, archives, sample=settings.raw is None)
    yield from map(own_data, own_files(settings.datasets))
    yield stores(Store(settings.stores))
    if settings.remote:
        yield bucket(settings.remote)
    yield hardware(wants_gpu=settings.preset_name in MEANT_FOR_A_GPU)
    yield dagster(Path(os.environ.get("DAGSTER_HOME") or settings.home / "dagster"))
    yield tracking(settings.tracking_uri, settings.home / "mlruns")
    if settings.scheduler:
        yield cluster(settings.scheduler)
