"""From a description to a row like those of ``DATASETS``, and all descriptions of a home."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.data.datasets import DATASETS, Dataset
from pipeline.data.duplicates import DuplicateRule
from pipeline.data.splits import SplitRule, by_duplicate_group, by_folder, by_patient
from pipeline.data.user_datasets.description import Description, read_description
from pipeline.data.user_datasets.links import link
from pipeline.data.user_datasets.scan import Root, scan
from pipeline.errors import ConfigError
from pipeline.store.versions import fingerprint

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = 40  # letters of a name: it is part of folder names, tables and pages
TAKEN = ("reports", "evaluation_report", "benchmark_report", "benchmark")
"""Names of other things in the graph and in MLflow."""
RULES: Mapping[str, SplitRule] = {"duplicates": by_duplicate_group, "patient": by_patient, "folder": by_folder}


@dataclass(frozen=True, kw_only=True)
class Own:
    """One data set of the user: its name, the YAML file, and the description in it."""

    name: str
    file: Path
    description: Description

    @property
    def targets(self) -> dict[str, Path]:
        """The user's folders by the names of their links."""
        return {root.link: root.folder for root in self.roots}

    def link_folders(self) -> Path:
        """Bring the links to the user's folders up to date; the raw folder that holds them."""
        return link(self.file.with_suffix(""), self.targets)

    @property
    def roots(self) -> tuple[Root, ...]:
        """The user's folders."""
        about, base = self.description, self.file.parent
        found: list[Root] = []
        if about.split.by == "folder":
            above = base / about.normal[0].expanduser()
            for split, folders in about.split.folders.items():
                found += _roots(f"normal/{split}", folders, above, klass="normal", split=split)
        else:
            found += _roots("normal", about.normal, base, klass="normal")
        unnamed = set(about.abnormal) == {"abnormal"}
        for klass, folders in about.abnormal.items():
            found += _roots("abnormal" if unnamed else f"abnormal/{klass}", folders, base, klass=klass)
        for lesion, folders in about.masks.items():
            found += _roots(f"masks/{lesion}", folders, base, lesion=lesion)
        return tuple(found)

    @property
    def row(self) -> Dataset:
        """The data set as the lanes know it."""
        about, roots = self.description, self.roots
        # Where the folders are is left out of the hash, so that they may be moved.
        places = [(root.link, root.klass, root.split, root.lesion, root.inside(roots)) for root in roots]
        return Dataset(
            name=self.name,
            title=about.title or self.name,
            classes=("normal", *about.abnormal),
            lesions=tuple(about.masks),
            licence=about.licence or "no licence stated",
            citation=about.citation or "none stated",
            url="",
            official={},
            layout="\n".join([f"{root.link}: {root.folder}" for root in roots] + [f"as {self.file} says"]),
            scan=partial(scan, roots=roots, split=about.split, mask_suffix=about.mask_suffix),
            split=RULES[about.split.by],
            shares=about.shares,
            duplicates=DuplicateRule() if about.split.searched else None,
            middle=about.split.middle,
            described=fingerprint(places, about.split.by, about.split.patient, about.mask_suffix),
        )


def refused(name: str) -> str:
    """Why a data set cannot have this name; empty if it can."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        return (
            f"expected a name of at most {LONGEST} small letters, digits and single underscores that begins with a "
            f"letter and does not end with '_', got {name!r}"
        )
    if name in DATASETS or name in {f"{other}_plain" for other in DATASETS}:
        return f"expected a name other than those of the built-in lanes, got {name!r}"
    if name in TAKEN:
        return f"expected a name that nothing else in the graph has, got {name!r}"
    return ""


def read_own(file: Path) -> Own:
    """The data set that a YAML file describes; raises ``ConfigError`` where name, field or folders are wrong."""
    if reason := refused(file.stem):
        raise ConfigError(f"{file}: name: {reason}")
    return checked(Own(name=file.stem, file=file, description=read_description(file)))


def checked(own: Own) -> Own:
    """The same data set; raises ``ConfigError`` where it names a folder twice."""
    seen: dict[Path, str] = {}
    for root in own.roots:
        other = seen.setdefault(root.folder.resolve(), root.link)
        if other != root.link:
            raise ConfigError(f"{own.file}: {other} and {root.link}: expected two folders, got {root.folder} twice")
    return own


def own_files(folder: Path) -> list[Path]:
    """The YAML files of a folder, by name."""
    return sorted(path for path in folder.glob("*.yaml") if not path.name.startswith("."))


def own_datasets(folder: Path) -> list[Own]:
    """Every data set described in a folder; none where there is no such folder."""
    return [read_own(file) for file in own_files(folder)]


def _roots(
    link: str, folders: Sequence[Path], base: Path, *, klass: str = "", split: str = "", lesion: str = ""
) -> Iterator[Root]:
    """A single folder has the link's name; several are numbered below it."""
    for number, folder in enumerate(folders, start=1):
        name = link if len(folders) == 1 else f"{link}/{number}"
        yield Root(link=name, folder=base / folder.expanduser(), klass=klass, split=split, lesion=lesion)
