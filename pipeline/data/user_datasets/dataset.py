"""The user's data sets: from the description to links to the folders, to candidates, and to a row of ``DATASETS``.

The raw folder is a folder of links, which everything that reads raw files follows (decision 16).
"""

import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePosixPath

from pipeline.data.datasets import DATASETS, Dataset
from pipeline.data.duplicates import DuplicateRule
from pipeline.data.layouts import Candidate
from pipeline.data.raw import RawFolder
from pipeline.data.splits import SplitRule, by_duplicates, by_folder, by_patient
from pipeline.data.user_datasets.description import Description, Split, read_description
from pipeline.errors import ConfigError, DatasetUnusable
from pipeline.store.versions import fingerprint

_log = logging.getLogger(__name__)
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = 40  # letters of a name: it is part of folder names, tables and pages
TAKEN = ("reports", "evaluation_report", "benchmark_report", "benchmark")  # in the graph and in MLflow
RULES: Mapping[str, SplitRule] = {
    "duplicates": by_duplicates,
    "patient": by_patient,
    "volume": by_patient,
    "folder": by_folder,
}
READING = "series"  # part of the hash of every description: change it when own files are read in another way
COPY = re.compile(r" ?\(\d+\)$| - copy$")  # end of the name of a second copy, in small letters
Masks = dict[str, list[str]]
"""Paths of the masks of one lesion by name: the path below the mask folder without suffixes."""


@dataclass(frozen=True, kw_only=True)
class Root:
    """One of the user's folders: of a class, or of the masks of a lesion."""

    link: str  # its name below the raw folder: "normal", "abnormal/cyst", "masks/lesion"
    folder: Path  # where it really is
    klass: str = ""
    split: str = ""  # of normals, if the user gives it by folder
    lesion: str = ""

    @property
    def real(self) -> Path:
        """Where the folder is without links; links that loop stay as they are."""
        return Path(os.path.realpath(self.folder))

    def inside(self, others: "Sequence[Root]") -> list[str]:
        """The others that are below this one, as relative paths: their files do not belong to this one."""
        here, folders = self.real, [root.real for root in others if root.link != self.link]
        return sorted(folder.relative_to(here).as_posix() for folder in folders if here in folder.parents)

    def files(self, raw: RawFolder, others: "Sequence[Root]") -> Iterator[tuple[str, str]]:
        """(path as in ``raw``, path below the folder) of every image in it that is in no other folder below it."""
        inner = tuple(f"{self.link}/{name}/" for name in self.inside(others))
        for path in raw.paths():
            labels = path.lower().endswith(".csv")
            if path.startswith(f"{self.link}/") and not labels and not path.startswith(inner):
                yield path, path.removeprefix(f"{self.link}/")


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
        groups: list[tuple[str, Sequence[Path], Path, dict[str, str]]]  # link, folders, their base, fields of a root
        groups = [("normal", about.normal, base, {"klass": "normal"})]
        if about.split.by == "folder":
            above, splits = base / os.path.expanduser(about.normal[0]), about.split.folders.items()
            groups = [(f"normal/{split}", some, above, {"klass": "normal", "split": split}) for split, some in splits]
        unnamed = set(about.abnormal) == {"abnormal"}
        for klass, folders in about.abnormal.items():
            groups.append(("abnormal" if unnamed else f"abnormal/{klass}", folders, base, {"klass": klass}))
        groups += [(f"masks/{lesion}", folders, base, {"lesion": lesion}) for lesion, folders in about.masks.items()]
        return tuple(
            Root(
                link=link if len(folders) == 1 else f"{link}/{number}",
                folder=start / os.path.expanduser(folder),
                **fields,
            )
            for link, folders, start, fields in groups
            for number, folder in enumerate(folders, start=1)  # several folders are numbered below the link's name
        )

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
            stacks=True,
            described=fingerprint(places, about.split.by, about.split.patient, about.mask_suffix, READING),
        )


def refused(name: str) -> str:
    """Why a data set cannot have this name; empty if it can."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        allowed = f"at most {LONGEST} small letters, digits and single underscores"
        return f"expected a name of {allowed} that begins with a letter and does not end with '_', got {name!r}"
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
        other = seen.setdefault(root.real, root.link)
        if other != root.link:
            raise ConfigError(f"{own.file}: {other} and {root.link}: expected two folders, got {root.folder} twice")
    return own


def own_files(folder: Path) -> list[Path]:
    """The YAML files of a folder, by name."""
    return sorted(path for path in folder.glob("*.yaml") if not path.name.startswith(".") and not path.is_fifo())


def own_datasets(folder: Path) -> list[Own]:
    """Every data set described in a folder; none where there is no such folder.

    A wrong description is told on stderr, and only its own data set is left out.
    """
    found = []
    for file in own_files(folder):
        try:
            found.append(read_own(file))
        except ConfigError as error:
            _tell(f"{error}\nThe lanes of the other data sets go on.")
    return found


@cache
def _tell(text: str) -> None:
    """Log an error once a process: descriptions are read for the lanes and for the resources."""
    _log.error("%s", text)


def link(folder: Path, targets: Mapping[str, Path]) -> Path:
    """Make ``folder`` hold one link for each target (name → folder); ``DatasetUnusable`` where one is no folder."""
    for name, target in targets.items():
        if not os.path.isdir(target):
            got = f"got nothing there; bring it back, or change {folder.with_suffix('.yaml')}"
            raise DatasetUnusable(f"{folder.name}: {name}: expected a folder of images at {target}, {got}")
    paths = [Path(above, name) for above, folders, files in os.walk(folder) for name in [*folders, *files]]
    there = [path for path in paths if path.is_symlink() or not path.is_dir()]  # a file that is no link has no target
    linked = {path.relative_to(folder).as_posix(): path.is_symlink() and os.readlink(path) for path in there}
    if linked == {name: str(target.resolve()) for name, target in targets.items()}:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
        fresh = Path(beside, "fresh")
        for name, target in targets.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).symlink_to(target.resolve(), target_is_directory=True)
        if folder.exists():
            folder.rename(Path(beside, "old"))
        fresh.rename(folder)
    return folder


def scan(raw: RawFolder, *, roots: Sequence[Root], split: Split, mask_suffix: str) -> list[Candidate]:
    """Every image of the folders; one without a patient's id, or with two masks of a lesion, is a refused candidate.

    Masks match in any case, and as a second copy (`` (1)``); those that fit no image are named in ``raw.odd``.
    """
    masks = find_masks(raw, roots, mask_suffix)
    found, used, names = [], set[str](), set[str]()
    for root in (root for root in roots if root.klass):
        for path, inner in root.files(raw, roots):
            match = re.search(split.patient, inner) if split.patient else None
            patient, name = match[1] or "" if match else "", _stem(inner)
            names |= {name, f"{root.klass}/{name}"}
            wanted = f"expected a path that fits {split.patient}, got {inner}"
            refused = f"no patient's id: {wanted}" if split.patient and not patient else ""
            maps = {} if root.klass == "normal" else masks
            own = {lesion: _masks_of(name, root.klass, each) for lesion, each in maps.items()}
            if several := next((paths for paths in own.values() if len(paths) > 1), None):
                refused = f"expected one mask of a lesion, got {' and '.join(several)}"
            first = {lesion: paths[0] for lesion, paths in own.items() if paths}
            used |= {path for paths in own.values() for path in paths}
            origin = (root.klass, root.link, root.link, root.split)
            found.append(Candidate(path, path, *origin, patient=patient, masks=first, refused=refused))
    for root in (root for root in roots if root.lesion):
        for path, inner in root.files(raw, roots):
            if path not in used and _stem(inner).removesuffix(mask_suffix) not in names:
                end = f" and '{mask_suffix}'" if mask_suffix else ""
                raw.odd[path] = f"a mask that fits no image: expected the path and name of an image{end}"
    return sorted(found, key=lambda item: item.path)


def find_masks(raw: RawFolder, roots: Sequence[Root], suffix: str) -> dict[str, Masks]:
    """Masks by lesion, and in it by name in small letters; a file whose name lacks the suffix is no mask."""
    found: dict[str, Masks] = {}
    for root in (root for root in roots if root.lesion):
        masks = found.setdefault(root.lesion, {})
        for path, inner in root.files(raw, roots):
            name = _stem(inner).lower()
            if not name.endswith(suffix.lower()):
                name = COPY.sub("", name)
            if name.endswith(suffix.lower()):
                masks.setdefault(name.removesuffix(suffix.lower()), []).append(path)
    return found


def _masks_of(name: str, klass: str, masks: Masks) -> list[str]:
    """Masks of the image of that name: below its class or not, else those whose name is that of a second copy."""
    places = [name.lower(), f"{klass}/{name}".lower()]
    if found := next((masks[place] for place in places if place in masks), []):
        exact = [path for path in found if f"/{name}" in path]  # two names that differ in the case of letters alone
        return exact or found
    return [path for other, paths in masks.items() if COPY.sub("", other) in places for path in paths]


def _stem(inner: str) -> str:
    """Path without the suffix (``.nii.gz`` is one) and without the archive."""
    stem = PurePosixPath(inner.rpartition("!/")[2]).with_suffix("")
    return (stem.with_suffix("") if stem.suffix.lower() == ".nii" else stem).as_posix()
