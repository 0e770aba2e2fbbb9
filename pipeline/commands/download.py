"""``proxyano download``: download a data set to where the lanes look for it, or say how, and check it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.commands.clean import size
from pipeline.commands.terminal import stop
from pipeline.data.archives import damage
from pipeline.data.datasets import DATASETS, Presence, look
from pipeline.data.download.fetch import (
    UNPACKED,
    address,
    archives_in,
    compare,
    fetch,
    find_archive,
    original_name,
    published,
    record,
    recorded,
    recorded_checksum,
    unpack,
)
from pipeline.data.download.sources import SOURCES
from pipeline.errors import ContentDiffers, DatasetUnusable, TransferFailed
from pipeline.wiring.settings import Settings

MIRROR = "PROXYANO_DOWNLOAD_URL"
FAILED, WRONG_CALL, DIFFERS, BY_HAND = 1, 2, 3, 4
"""Exit codes: try again; wrong call; a file is not the expected one; something has to be placed by hand."""
console = Console(soft_wrap=True, highlight=False)
errors = Console(stderr=True, soft_wrap=True, highlight=False)


def download(
    name: Annotated[str, typer.Argument(help="brain_mri, oct or idrid; with --check none means all three")] = "",
    into: Annotated[Path | None, typer.Option(help="Raw folder, instead of PROXYANO_RAW")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check what is there")] = False,
    extract: Annotated[bool, typer.Option("--extract", help="Unpack the archives; the lanes read them packed")] = False,
    url: Annotated[str, typer.Option(help="Download from URL/<data set>/<file>, a mirror", envvar=MIRROR)] = "",
) -> None:
    """Download a data set and check it; run the same command again to resume.

    Exit codes: 0 all is there; 1 the download failed, try again; 2 wrong call; 3 a file is not the expected one;
    4 something has to be placed by hand.
    """
    if name not in DATASETS and (name or not check):
        stop(f"expected one of {', '.join(DATASETS)}, got {name or 'nothing'}", WRONG_CALL)
    settings = Settings()
    if into is None and (settings.raw is None or settings.raw_url):
        got = settings.raw_url or "none"
        stop(f"expected a folder for the downloads, got {got}: set PROXYANO_RAW or give --into DIR", WRONG_CALL)
    raw = into or settings.raw_root
    codes = []
    for each in [name] if name else list(DATASETS):
        folder = raw.resolve() / each
        console.rule(f"{DATASETS[each].title} · {escape(str(folder))}")
        try:
            if not check:
                _download(each, folder, url)
            codes.append(_check(each, folder))
            if not (check or codes[-1]):
                _record_and_unpack(folder, extract=extract)
        except TransferFailed as error:
            _error(str(error))
            _print_steps(each, folder)
            codes.append(FAILED)
        except (ContentDiffers, DatasetUnusable) as error:
            _error(str(error))
            codes.append(DIFFERS)
    raise typer.Exit(max(codes))


def _error(message: str, colour: str = "red") -> None:
    errors.print(f"[{colour}]{escape(message)}[/]")


def _download(name: str, folder: Path, mirror: str) -> None:
    """Download all files, unless a login is needed or every official image is there."""
    source = SOURCES[name]
    console.print(f"Licence: {escape(DATASETS[name].licence)}. Official page: {source.page}")
    if source.login and not mirror:
        return
    folder.mkdir(parents=True, exist_ok=True)
    found = [find_archive(folder, file.name) for file in source.files]
    if not any(found) and look(DATASETS[name], folder, quick=True).complete:
        console.print("Every official image is there already; nothing to download.")
        return
    if source.note and not mirror:
        console.print(source.note)
    known = all(found) and all(file.name in recorded(folder) for file in source.files)
    site: dict[str, str] = {}
    try:
        site = published(source.record) if source.record and not (mirror or known) else {}
    except TransferFailed as error:
        _error(f"The site's checksums are not available: {error}", "yellow")
    for file in source.files:
        fetched = fetch(file, folder, address(file, name, mirror), site=site, progress=errors.is_terminal)
        news, own = "downloaded" if fetched.downloaded else "was there", size(fetched.path.stat().st_size)
        agrees = "; ".join(f"{value.partition(':')[0]} agrees with {by}" for by, value in fetched.checked.items())
        compared = agrees or "seen for the first time, recorded"
        console.print(f"{fetched.path.name}: {news}, {own}, sha256 {fetched.sha256}; {compared}")


def _record_and_unpack(folder: Path, *, extract: bool) -> None:
    """Record the archives that were placed by hand and passed the check; unpack all if asked."""
    for archive in archives_in(folder):
        record(archive, folder, "placed by hand")
        if extract:
            target = unpack(archive, archive.parent)
            kept = folder / UNPACKED / original_name(folder, archive)
            kept.parent.mkdir(parents=True, exist_ok=True)
            archive.rename(kept)
            console.print(f"{archive.name}: unpacked into {escape(str(target))}")


def _check(name: str, folder: Path) -> int:
    """Print what is there; the exit code."""
    if not folder.is_dir():
        console.print(f"[yellow]Nothing is there: no folder {escape(str(folder))}.[/]")
        _print_steps(name, folder)
        return BY_HAND
    good = _check_archives(name, folder)
    found = look(DATASETS[name], folder, cache=Settings().home / "fingerprints" / "archives")
    _print_counts(found)
    for archive, reason in found.broken.items():
        _error(f"{archive}: {reason}")
    if found.broken or not good:
        return DIFFERS
    if not found.usable:
        _error(found.problem or "expected normal and abnormal images, found only some of them", "yellow")
        _print_steps(name, folder)
        return BY_HAND
    if Settings().raw != str(folder.parent):
        console.print(f"To let the lanes find it: export PROXYANO_RAW='{folder.parent}'")
    return 0


def _check_archives(name: str, folder: Path) -> bool:
    """Print the archives that are missing and those that are there; whether all of these are whole and as recorded."""
    for file in SOURCES[name].files:
        if find_archive(folder, file.name) is None:
            console.print(f"{file.name}: not there (fine if its content is unpacked, or under another name)")
    all_good = True
    for archive in archives_in(folder):
        expected = recorded_checksum(original_name(folder, archive), folder)
        reason = damage(archive)
        try:
            compare(archive, expected, "if it is damaged, remove it and download it again")
        except ContentDiffers as error:
            reason = str(error)
        state = f"[red]{escape(reason)}[/]" if reason else "readable, as recorded" if expected else "readable"
        console.print(f"{escape(original_name(folder, archive))}: {size(archive.stat().st_size)}, {state}")
        all_good = all_good and not reason
    return all_good


def _print_counts(found: Presence) -> None:
    table = Table("part", "class", title="Images where the layout expects them")
    table.add_column("here", justify="right")
    table.add_column("official", justify="right")
    for part, classes in found.dataset.official.items():
        for klass, official in classes.items():
            table.add_row(part, klass, str(found.counts.get(part, {}).get(klass, 0)), str(official))
    console.print(table, soft_wrap=False)
    if found.usable and not found.complete:
        console.print("A part of the official images is enough for the lanes; results depend on which.")


def _print_steps(name: str, folder: Path) -> None:
    console.print("[bold]By hand:[/]")
    steps = [step.format(folder=folder) for step in SOURCES[name].steps]
    for number, step in enumerate([*steps, f"proxyano download {name} --into '{folder.parent}' --check"], start=1):
        console.print(f"  {number}. {escape(step)}")
