"""``proxyano dataset …``: lanes for folders of images of one's own, without touching code."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.commands.clean import size
from pipeline.commands.dataset_preview import FEW, count, doubts, groups_of, splits
from pipeline.data.manifest import make_manifest
from pipeline.data.raw import RawFolder
from pipeline.data.splits import SPLITS, ImagesConfig
from pipeline.data.user_datasets.dataset import Own, checked, own_files, read_own, refused
from pipeline.data.user_datasets.description import DEALT, described
from pipeline.data.user_datasets.links import link
from pipeline.errors import ConfigError, ProxyAnoError
from pipeline.store.versions import write_file
from pipeline.wiring.settings import Settings

app = typer.Typer(no_args_is_help=True, help=__doc__)

Name = Annotated[str, typer.Argument(help="Name of the data set and of its lane", show_default=False)]


@app.command()
def add(
    name: Name,
    normal: Annotated[list[Path], typer.Option(help="Folder of normal images; may be given again")],
    abnormal: Annotated[list[str], typer.Option(help="Folder of abnormal images, or CLASS=FOLDER for each class")],
    masks: Annotated[list[str] | None, typer.Option(help="Folder of lesion masks, or LESION=FOLDER for each")] = None,
    mask_suffix: Annotated[str, typer.Option(help="What a mask's name has behind its image's")] = "",
    split: Annotated[str, typer.Option(help="duplicates, patient or folder: what stays together")] = "duplicates",
    patient: Annotated[str, typer.Option(help="Regular expression whose one group is the patient's id")] = "",
    middle: Annotated[float, typer.Option(help="Share of each side in which look-alikes are searched")] = 1.0,
    form: Annotated[str, typer.Option(help="Canonical form")] = "plain",
    title: Annotated[str, typer.Option(help="Name for people")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Describe a data set anew that is there")] = False,
) -> None:
    """Look at the folders, say what is in them, and write the description that makes them a lane."""
    with _told():
        settings = Settings()
        file = settings.datasets / f"{name}.yaml"
        if why := refused(name):
            raise ConfigError(f"NAME: {why}")
        if file.exists() and not replace:
            raise ConfigError(f"NAME: {name} is there already ({file}); change that file, or give --replace")
        fields = _given(
            title=title,
            normal=_one_or_all([str(path.resolve()) for path in normal]),
            abnormal=_named(abnormal, "--abnormal", "abnormal"),
            masks=_named(masks or [], "--masks", "lesion"),
            mask_suffix=mask_suffix,
            split=_given(
                by=split,
                patient=patient,
                folders=_split_folders(normal[0]) if split == "folder" else {},
                middle=None if middle == 1.0 else middle,
            ),
            form=form,
        )
        own = checked(Own(name=name, file=file, description=described(fields, Path("proxyano dataset add"))))
        console = _console()
        with tempfile.TemporaryDirectory() as beside:
            targets = {root.link: root.folder for root in own.roots}
            count(console, own, RawFolder(link(Path(beside, name), targets)))
        write_file(file, yaml.safe_dump(fields, sort_keys=False, allow_unicode=True).encode())
        console.print(f"Described in {file}; it may be changed by hand.", soft_wrap=True)
        console.print(f"Preset in force: {settings.preset_name}. Next: proxyano dataset check {name}")
        console.print(f"Then: proxyano refresh --select '*{name}/evaluation'", markup=False)
        console.print("And:  proxyano refresh --select evaluation_report")


@app.command(name="list")
def list_() -> None:
    """Every data set of one's own, and what of its lane stands."""
    settings, console = Settings(), _console()
    files = own_files(settings.datasets)
    if not files:
        console.print(f"No data set of your own in {settings.datasets}; add one: proxyano dataset add --help")
        return
    table = Table("name", "title", "split", "form", "evaluated")
    wrong = []
    for file in files:
        try:
            about = read_own(file).description
        except ConfigError as error:
            wrong.append(str(error))
            continue
        made = "evaluation" in _standing(settings, file.stem)
        table.add_row(file.stem, about.title or file.stem, f"by {about.split.by}", about.form, "yes" if made else "no")
    console.print(table)
    for text in wrong:
        console.print(f"[red]{escape(text)}[/]", soft_wrap=True, highlight=False)
    if wrong:
        raise typer.Exit(2)


@app.command()
def show(name: Name) -> None:
    """Print the description, where its folders lie, and which stages of the lane stand."""
    with _told():
        settings = Settings()
        own = _existing(settings, name)
        console = _console()
        console.print(f"# {own.file}\n{own.file.read_text().rstrip()}", markup=False, highlight=False, soft_wrap=True)
        for root in own.roots:
            there = "" if root.folder.is_dir() else "  (nothing there)"
            console.print(f"{root.link}: {root.folder.resolve()}{there}", markup=False, highlight=False, soft_wrap=True)
        stages = _standing(settings, name)
        console.print(f"made: {', '.join(stages) or 'nothing yet'}")


@app.command()
def check(
    name: Name,
    groups: Annotated[bool, typer.Option("--groups", help="List every group with its split")] = False,
) -> None:
    """Read every image and say where each group would stand; nothing is published."""
    with _told():
        settings = Settings()
        own = _existing(settings, name)
        console = _console()
        raw = RawFolder(link(own.links, {root.link: root.folder for root in own.roots}))
        count(console, own, raw)
        config = ImagesConfig(split_seed=settings.split_seed)
        images, quarantine, _ = make_manifest(raw, own.row, config, progress=console.is_terminal)
        console.print(splits(images))
        groups_of(console, images, every=groups)
        for path, reason in quarantine.head(FEW).itertuples(index=False):
            console.print(f"[yellow]not usable: {escape(path)}: {escape(reason)}[/]", soft_wrap=True, highlight=False)
        if len(quarantine) > FEW:
            console.print(f"[yellow]… and {len(quarantine) - FEW} more that are not usable[/]")
        if hint := doubts(images, len(quarantine)):
            console.print("\n".join(f"[yellow]{escape(text)}[/]" for text in hint), soft_wrap=True)
            raise typer.Exit(1)
        console.print("[green]This will do.[/] Nothing was published.")


@app.command()
def remove(name: Name) -> None:
    """Remove the description, and with it the lane; images and what was made of them stay."""
    with _told():
        settings = Settings()
        file = settings.datasets / f"{name}.yaml"
        if not file.is_file():
            raise ConfigError(f"NAME: {_unknown(settings, name)}")
        file.unlink()
        console = _console()
        console.print(f"Removed {file}. Your images are where they were.", soft_wrap=True)
        if file.with_suffix("").is_dir():
            links = f"The links to them in {file.with_suffix('')} stay"
            console.print(f"{links}: by them proxyano lineage --verify finds the raw files.", soft_wrap=True)
        folder = settings.stores / "versions" / name
        held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        stages = ", ".join(_standing(settings, name))
        if stages:
            console.print(f"In the store stay {stages} ({size(held)}): {folder}", soft_wrap=True)
        console.print("The report drops the lane with the next: proxyano refresh --select evaluation_report")


@contextmanager
def _told() -> Iterator[None]:
    """Errors of this project in a few lines instead of a traceback."""
    try:
        yield
    except ProxyAnoError as error:
        Console(stderr=True).print(f"[red]{escape(str(error))}[/]", soft_wrap=True, highlight=False)
        raise typer.Exit(2) from None


def _console() -> Console:
    """The terminal; a file or a pipe gets whole lines."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def _existing(settings: Settings, name: str) -> Own:
    file = settings.datasets / f"{name}.yaml"
    if not file.is_file():
        raise ConfigError(f"NAME: {_unknown(settings, name)}")
    return read_own(file)


def _unknown(settings: Settings, name: str) -> str:
    known = ", ".join(file.stem for file in own_files(settings.datasets)) or "none is there yet"
    return f"expected a data set of {settings.datasets} ({known}), got {name!r}"


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value not in (None, "", {})}


def _one_or_all(values: Sequence[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)


def _named(values: Sequence[str], option: str, usual: str) -> str | dict[str, Any]:
    """``FOLDER`` alone, or each ``NAME=FOLDER``; a name that is given again has several folders."""
    found: dict[str, list[str]] = {}
    for value in values:
        name, named, folder = value.rpartition("=")
        if named and not name:
            raise ConfigError(f"{option}: expected FOLDER or NAME=FOLDER, got {value!r}")
        found.setdefault(name or usual, []).append(str(Path(folder).expanduser().resolve()))
    if set(found) == {usual} and len(found[usual]) == 1:
        return found[usual][0]
    return {name: _one_or_all(folders) for name, folders in found.items()}


def _split_folders(above: Path) -> dict[str, str]:
    """The folders of the splits below the folder of normals, by their names."""
    found = {split: split for split in SPLITS if (above / split).is_dir()}
    missing = [split for split in SPLITS if split not in found and split not in DEALT]
    if missing:
        raise ConfigError(
            f"--split folder: expected folders train and test (val and holdout if you like) in {above}, "
            f"got no {' and no '.join(missing)}; other names can be given in the YAML file"
        )
    return found


def _standing(settings: Settings, name: str) -> list[str]:
    """Stages of the lane that have a current version."""
    return sorted(path.stem for path in (settings.stores / "current" / name).glob("*.json"))
