"""``proxyano dataset …``: lanes for your own folders of images, without code."""

import os
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
from pipeline.commands.dataset_preview import (
    print_counts,
    print_groups,
    print_masks,
    print_unusable,
    print_volumes,
    split_table,
    warnings_of,
)
from pipeline.commands.terminal import console_of, stop
from pipeline.data.manifest import make_manifest
from pipeline.data.raw import RawFolder
from pipeline.data.splits import SPLITS, ImagesConfig
from pipeline.data.user_datasets.dataset import Own, checked, link, own_files, read_own, refused
from pipeline.data.user_datasets.description import DEALT, described
from pipeline.data.user_datasets.guess import guess_folders, holds_volumes
from pipeline.errors import ConfigError, ProxyAnoError
from pipeline.store.files import write_file
from pipeline.wiring.settings import Settings

Name = Annotated[str, typer.Argument(help="Name of the data set and of its lane", show_default=False)]


def add(
    name: Name,
    folder: Annotated[
        Path | None, typer.Argument(help="Folder with a subfolder for normals and one for each class")
    ] = None,
    normal: Annotated[list[Path] | None, typer.Option(help="Folder of normal images; may be repeated")] = None,
    abnormal: Annotated[
        list[str] | None, typer.Option(help="Folder of abnormal images, or CLASS=FOLDER for each class")
    ] = None,
    masks: Annotated[list[str] | None, typer.Option(help="Folder of lesion masks, or LESION=FOLDER for each")] = None,
    mask_suffix: Annotated[str, typer.Option(help="Appended to the image's name in the mask's name")] = "",
    split: Annotated[
        str,
        typer.Option(
            help="duplicates, patient, volume or folder: what stays together [default: volume for volumes and DICOM, "
            "else duplicates]"
        ),
    ] = "",
    patient: Annotated[str, typer.Option(help="Regular expression whose one group is the patient's id")] = "",
    middle: Annotated[float, typer.Option(help="Share of each side in which near-duplicates are searched")] = 1.0,
    form: Annotated[str, typer.Option(help="Canonical form")] = "plain",
    title: Annotated[str, typer.Option(help="Title in reports")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite an existing description")] = False,
) -> None:
    """Check the folders, print what they hold, and write the description that makes them a lane."""
    with _errors():
        settings, console = Settings(), console_of(160)
        file = settings.datasets / f"{name}.yaml"
        if reason := refused(name):
            raise ConfigError(reason)
        if file.exists() and not replace:
            raise ConfigError(f"{name} exists already ({file}); change that file, or give --replace")
        normal, abnormal = _classes(console, folder, normal, abnormal)
        folders = _split_folders(normal[0]) if split == "folder" else {}
        how: dict[str, Any] = {"by": split or "duplicates", "patient": patient, "folders": folders}
        how |= {"middle": "" if middle == 1.0 else middle}
        given = {
            "title": title,
            "normal": _one_or_all([os.path.realpath(path) for path in normal]),
            "abnormal": _named(abnormal, "--abnormal", "abnormal"),
            "masks": _named(masks or [], "--masks", "lesion"),
            "mask_suffix": mask_suffix,
            "split": _without_empty(how),
            "form": form,
        }
        fields = _without_empty(given)
        own = checked(Own(name=name, file=file, description=described(fields, Path("proxyano dataset add"))))
        if missing := [str(path) for path in own.targets.values() if not path.is_dir()]:
            raise ConfigError(f"expected a folder of images at {', '.join(missing)}, got nothing there")
        with tempfile.TemporaryDirectory() as links:
            raw = RawFolder(link(Path(links, name), own.targets))
            print_counts(console, own, raw)
            if not split and not patient and holds_volumes(own, raw):
                fields["split"] = _without_empty(how | {"by": "volume"})
                console.print(
                    "Files hold volumes or name patients: volumes and patients stay together (split: volume)."
                )
        write_file(file, yaml.safe_dump(fields, sort_keys=False, allow_unicode=True).encode())
        console.print(f"Described in {file}; it may be changed by hand.", soft_wrap=True)
        console.print(f"Preset in force: {settings.own_preset_name}. Next: proxyano dataset check {name}")
        if not own.row.judged:
            console.print("Without abnormal images there is a detector and no evaluation.")
            console.print(f"Then: proxyano refresh --select '*{name}/detector'", markup=False)
            return
        console.print(f"Then: proxyano refresh --select '*{name}/evaluation'", markup=False)
        console.print("And:  proxyano refresh --select evaluation_report")


def list_() -> None:
    """List your data sets, and whether each is evaluated."""
    settings, console = Settings(), console_of(160)
    files = own_files(settings.datasets)
    if not files:
        console.print(f"No data set of your own in {settings.datasets}; add one: proxyano dataset add --help")
        return
    table, errors = Table("name", "title", "split", "form", "evaluated"), list[str]()
    for file in files:
        try:
            about = read_own(file).description
        except ConfigError as error:
            errors.append(str(error))
            continue
        done = "evaluation" in _stages(settings, file.stem)
        table.add_row(
            file.stem, escape(about.title or file.stem), f"by {about.split.by}", about.form, "yes" if done else "no"
        )
    console.print(table)
    for text in errors:
        console.print(f"[red]{escape(text)}[/]", soft_wrap=True, highlight=False)
    if errors:
        raise typer.Exit(2)


def show(name: Name) -> None:
    """Print the description, its folders, and the finished stages of the lane."""
    with _errors():
        settings, console = Settings(), console_of(160)
        own = read_own(_existing(settings, name))
        console.print(f"# {own.file}\n{own.file.read_text().rstrip()}", markup=False, highlight=False, soft_wrap=True)
        for root in own.roots:
            note = "" if root.folder.is_dir() else "  (nothing there)"
            console.print(f"{root.link}: {root.folder.resolve()}{note}", markup=False, highlight=False, soft_wrap=True)
        console.print(f"made: {', '.join(_stages(settings, name)) or 'nothing yet'}")


def check(
    name: Name, groups: Annotated[bool, typer.Option("--groups", help="List every group with its split")] = False
) -> None:
    """Read every image and print the split of each group; publishes nothing."""
    with _errors():
        settings, console = Settings(), console_of(160)
        own = read_own(_existing(settings, name))
        raw = RawFolder(own.link_folders())
        print_counts(console, own, raw)
        config = ImagesConfig(split_seed=settings.split_seed)
        images, quarantine, counts = make_manifest(raw, own.row, config, progress=console.is_terminal)
        console.print(split_table(images))
        print_groups(console, images, every=groups)
        print_masks(console, images, raw, own.file.with_suffix(".masks"))
        if "volumes" in counts:
            print_volumes(console, images, counts["volumes"], raw, own.file.with_suffix(".slices"))
        print_unusable(console, list(quarantine.itertuples(index=False, name=None)))
        if warnings := warnings_of(images, len(quarantine)):
            console.print("\n".join(f"[yellow]{escape(text)}[/]" for text in warnings), soft_wrap=True)
            raise typer.Exit(1)
        console.print("[green]The data set is usable.[/] Nothing was published.")


def remove(name: Name) -> None:
    """Remove the description, and with it the lane; images and results stay."""
    with _errors():
        settings, console = Settings(), console_of(160)
        file = _existing(settings, name)
        file.unlink()
        console.print(f"Removed {file}. Your images are unchanged.", soft_wrap=True)
        if file.with_suffix("").is_dir():
            links = f"The links to them in {file.with_suffix('')} stay"
            console.print(f"{links}: proxyano lineage --verify finds the raw files through them.", soft_wrap=True)
        if stages := ", ".join(_stages(settings, name)):
            folder = settings.stores / "versions" / name
            stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            console.print(f"Still stored: {stages} ({size(stored)}): {folder}", soft_wrap=True)
        console.print("To drop it from the report: proxyano refresh --select evaluation_report")


@contextmanager
def _errors() -> Iterator[None]:
    """Print this project's errors in a few lines instead of a traceback."""
    try:
        yield
    except ProxyAnoError as error:
        stop(error)


def _classes(
    console: Console, folder: Path | None, normal: list[Path] | None, abnormal: list[str] | None
) -> tuple[list[Path], list[str]]:
    """Folders of normals and of the classes, as given or guessed from those below ``folder``."""
    if normal and folder is None:
        return normal, abnormal or []
    if normal or abnormal or folder is None:
        raise ConfigError("expected FOLDER alone, or --normal, and --abnormal for an evaluation")
    healthy, classes, masks = guess_folders(folder)
    for what, path in {"normal": healthy, **classes}.items():
        console.print(f"{what}: {path}", markup=False, highlight=False, soft_wrap=True)
    if masks:
        console.print(f"left out: {', '.join(masks)}; name masks by --masks", markup=False, soft_wrap=True)
    return [healthy], [f"{klass}={path}" for klass, path in classes.items()]


def _existing(settings: Settings, name: str) -> Path:
    """The YAML file of a data set; raises ``ConfigError`` with the known names."""
    file = settings.datasets / f"{name}.yaml"
    if not file.is_file():
        known = ", ".join(file.stem for file in own_files(settings.datasets)) or "none is there yet"
        raise ConfigError(f"expected a data set of {settings.datasets} ({known}), got {name!r}")
    return file


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ("", {})}


def _one_or_all(values: Sequence[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)


def _named(values: Sequence[str], option: str, default: str) -> str | dict[str, Any]:
    """``FOLDER`` alone, or each ``NAME=FOLDER``; a repeated name has several folders."""
    found: dict[str, list[str]] = {}
    for value in values:
        name, named, folder = value.rpartition("=")
        if named and not name:
            raise ConfigError(f"{option}: expected FOLDER or NAME=FOLDER, got {value!r}")
        found.setdefault(name or default, []).append(os.path.realpath(os.path.expanduser(folder)))
    if set(found) == {default} and len(found[default]) == 1:
        return found[default][0]
    return {name: _one_or_all(folders) for name, folders in found.items()}


def _split_folders(above: Path) -> dict[str, str]:
    """The folders of the splits below the folder of normals, by their names."""
    found = {split: split for split in SPLITS if (above / split).is_dir()}
    missing = [split for split in SPLITS if split not in found and split not in DEALT]
    if missing:
        expected = f"expected folders train and test (val and holdout are optional) in {above}"
        got = f"got no {' and no '.join(missing)}"
        raise ConfigError(f"--split folder: {expected}, {got}; other names can be given in the YAML file")
    return found


def _stages(settings: Settings, name: str) -> list[str]:
    """Stages of the lane that have a current version."""
    return sorted(path.stem for path in (settings.stores / "current" / name).glob("*.json"))
