"""``proxyano download``: bring a data set where the lanes look for it, or say how, and check what lies there."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from pipeline.commands.clean import size
from pipeline.data.archives import damage
from pipeline.data.datasets import DATASETS
from pipeline.data.download.fetch import (
    KEPT,
    Expected,
    Fetched,
    address,
    as_recorded,
    compare,
    fetch,
    name_in,
    published,
    record,
    recorded,
    where,
)
from pipeline.data.download.presence import Presence, archives_in, look
from pipeline.data.download.sources import SOURCES, RemoteFile
from pipeline.data.download.unpack import unpack
from pipeline.errors import ContentDiffers, DatasetUnusable, TransferFailed
from pipeline.wiring.settings import Settings

NOT_COME, WRONG_CALL, DIFFERS, BY_HAND = 1, 2, 3, 4
"""Exit codes: try again; a wrong call; not the file that was expected; something has to be placed by hand."""
console = Console()
errors = Console(stderr=True)


def download(
    name: Annotated[str, typer.Argument(help="brain_mri, oct or idrid; may be left out with --check: all three")] = "",
    into: Annotated[Path | None, typer.Option(help="Raw folder, instead of PROXYANO_RAW")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check what lies there")] = False,
    extract: Annotated[bool, typer.Option("--extract", help="Unpack the archives; the lanes read them packed")] = False,
    url: Annotated[
        str, typer.Option(help="Take the files from URL/<data set>/<file>, a mirror", envvar="PROXYANO_DOWNLOAD_URL")
    ] = "",
) -> None:
    """Download a data set and check it; a cut download goes on with the same command.

    Exit codes: 0 all is there; 1 it did not come, try again; 2 wrong call; 3 a file is not the one that was expected;
    4 something has to be placed by hand.
    """
    raw = into or Settings().raw
    if raw is None:
        raise _stopped("expected a folder for the downloads, got none: set PROXYANO_RAW or give --into DIR")
    if name not in DATASETS and (name or not check):
        raise _stopped(f"expected one of {', '.join(DATASETS)}, got {name or 'nothing'}")
    codes = []
    for each in [name] if name else list(DATASETS):
        folder = raw.resolve() / each
        console.rule(f"{DATASETS[each].title} · {escape(str(folder))}")
        try:
            if not check:
                _bring(each, folder, url)
            codes.append(_check(each, folder))
            if not (check or codes[-1]):
                _keep(folder, extract=extract)
        except TransferFailed as error:
            errors.print(f"[red]{escape(str(error))}[/]", soft_wrap=True, highlight=False)
            _steps(each, folder)
            codes.append(NOT_COME)
        except (ContentDiffers, DatasetUnusable) as error:
            errors.print(f"[red]{escape(str(error))}[/]", soft_wrap=True, highlight=False)
            codes.append(DIFFERS)
    raise typer.Exit(max(codes))


def _stopped(message: str) -> typer.Exit:
    errors.print(f"[red]{escape(message)}[/]", soft_wrap=True, highlight=False)
    return typer.Exit(WRONG_CALL)


def _bring(name: str, folder: Path, base: str) -> None:
    """Fetch what can be fetched, and unpack where that is wanted."""
    source = SOURCES[name]
    console.print(f"Licence: {escape(DATASETS[name].licence)}. Official page: {source.page}", soft_wrap=True)
    if base or not source.login:
        folder.mkdir(parents=True, exist_ok=True)
        if not any(where(folder, file.name) for file in source.files):
            there = look(DATASETS[name], folder, quick=True)
            if there.complete:
                console.print("Every official image is there already; nothing to download.")
                return
        if source.note and not base:
            console.print(source.note, soft_wrap=True, highlight=False)
        known = all(file.name in recorded(folder) and where(folder, file.name) for file in source.files)
        site = {} if base or known or not source.record else _published(source.record)
        for file in source.files:
            _tell(_fetch(file, name, folder, base, site))


def _published(record_url: str) -> dict[str, str]:
    try:
        return published(record_url)
    except TransferFailed as error:
        errors.print(f"[yellow]The site's checksums are not at hand: {escape(str(error))}[/]", soft_wrap=True)
        return {}


def _fetch(file: RemoteFile, name: str, folder: Path, base: str, site: dict[str, str]) -> Fetched:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=errors) as progress:
        task = progress.add_task(file.name, visible=False)

        def told(have: int, total: int | None) -> None:
            progress.update(task, completed=have, total=total or file.size or None, visible=True)

        return fetch(file, folder, address(file, name, base), site=site, progress=told)


def _tell(fetched: Fetched) -> None:
    news = "downloaded" if fetched.came else "was there"
    against = "; ".join(f"{item.checksum.partition(':')[0]} agrees with {item.said_by}" for item in fetched.expected)
    console.print(
        f"{fetched.path.name}: {news}, {size(fetched.size)}, sha256 {fetched.sha256}; "
        f"{against or 'seen for the first time, recorded'}",
        soft_wrap=True,
        highlight=False,
    )


def _recorded(archive: Path, folder: Path) -> tuple[Expected, ...]:
    known = as_recorded(name_in(folder, archive), folder)
    return () if known is None else (known,)


def _keep(folder: Path, *, extract: bool) -> None:
    """Record the archives that were placed by hand and found good; unpack all where that is wanted."""
    for archive in archives_in(folder):
        record(archive, folder, "placed by hand")
        if not extract:
            continue
        made = unpack(archive, archive.parent)
        kept = folder / KEPT / name_in(folder, archive)
        kept.parent.mkdir(parents=True, exist_ok=True)
        archive.rename(kept)
        console.print(f"{archive.name}: unpacked into {escape(str(made))}", soft_wrap=True, highlight=False)


def _check(name: str, folder: Path) -> int:
    """Say what lies there; the exit code of it."""
    if not folder.is_dir():
        console.print(f"[yellow]Nothing is there: no folder {escape(str(folder))}.[/]", soft_wrap=True)
        _steps(name, folder)
        return BY_HAND
    bad = _archives(name, folder)
    found = look(DATASETS[name], folder, cache=Settings().home / "fingerprints" / "archives")
    _table(found)
    for archive, why in found.broken.items():
        errors.print(f"[red]{escape(archive)}: {escape(why)}[/]", soft_wrap=True, highlight=False)
    if bad or found.broken:
        return DIFFERS
    if found.usable:
        if Settings().raw != folder.parent:
            console.print(f"The lanes look there with: export PROXYANO_RAW='{folder.parent}'", soft_wrap=True)
        return 0
    why = found.problem or "expected normal and abnormal images, found only some of them"
    errors.print(f"[yellow]{escape(why)}[/]", soft_wrap=True, highlight=False)
    _steps(name, folder)
    return BY_HAND


def _archives(name: str, folder: Path) -> bool:
    """Name the archives that are there and those that are not; whether one is damaged or another than recorded."""
    expected = [file.name for file in SOURCES[name].files]
    present, bad = archives_in(folder), False
    for missing in [each for each in expected if where(folder, each) is None]:
        line = f"{missing}: not there (fine where its content lies unpacked, or under another name)"
        console.print(line, soft_wrap=True, highlight=False)
    for archive in present:
        why = damage(archive)
        try:
            compare(archive, _recorded(archive, folder))
        except ContentDiffers as error:
            why = str(error)
        bad = bad or bool(why)
        good = "readable, as recorded" if _recorded(archive, folder) else "readable"
        line = f"{escape(name_in(folder, archive))}: {size(archive.stat().st_size)}, "
        console.print(line + (f"[red]{escape(why)}[/]" if why else good), soft_wrap=True, highlight=False)
    return bad


def _table(found: Presence) -> None:
    table = Table("part", "class", title="Images where the layout puts them")
    table.add_column("here", justify="right")
    table.add_column("official", justify="right")
    for part, classes in found.dataset.official.items():
        for klass, official in classes.items():
            table.add_row(part, klass, str(found.counts.get(part, {}).get(klass, 0)), str(official))
    console.print(table)
    if found.usable and not found.complete:
        console.print("A part of the official images is enough for the lanes; results depend on which.")


def _steps(name: str, folder: Path) -> None:
    console.print("[bold]By hand:[/]")
    for number, step in enumerate(SOURCES[name].steps, start=1):
        console.print(f"  {number}. {escape(step.format(folder=folder))}", soft_wrap=True, highlight=False)
    again = f"proxyano download {name} --into '{folder.parent}' --check"
    console.print(f"  {len(SOURCES[name].steps) + 1}. {escape(again)}", soft_wrap=True, highlight=False)
