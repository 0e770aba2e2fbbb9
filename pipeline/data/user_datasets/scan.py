"""From the user's folders to candidates: every image in them, with its patient and its masks told by the name."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.data.layouts.candidate import Candidate
from pipeline.data.raw import KINDS, RawFolder
from pipeline.data.user_datasets.description import Split

IMAGES = tuple(kind for kind in KINDS if kind != ".csv")


@dataclass(frozen=True, kw_only=True)
class Root:
    """One of the user's folders: of a class, or of the masks of a lesion."""

    link: str  # its name below the raw folder: "normal", "abnormal/cyst", "masks/lesion"
    folder: Path  # where it really lies
    klass: str = ""
    split: str = ""  # of normals, where the user says it by folder
    lesion: str = ""

    def inside(self, others: "Sequence[Root]") -> list[str]:
        """The others that lie in this one, as paths below it: their files are not this one's."""
        here = self.folder.resolve()
        there = [other.folder.resolve() for other in others if other.link != self.link]
        return sorted(folder.relative_to(here).as_posix() for folder in there if here in folder.parents)

    def files(self, raw: RawFolder, others: "Sequence[Root]") -> Iterator[tuple[str, str]]:
        """(path as in ``raw``, path below the folder) of every image that lies in it and in no other below it."""
        inner = tuple(f"{self.link}/{name}/" for name in self.inside(others))
        for path in raw.paths():
            if path.startswith(f"{self.link}/") and path.lower().endswith(IMAGES) and not path.startswith(inner):
                yield path, path.removeprefix(f"{self.link}/")


@dataclass
class Masks:
    """The masks of one lesion by the name of their image."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def take(self, klass: str, inner: str) -> list[str]:
        """The masks of an image: at the same path, or below a folder of its class."""
        for name in (stem(inner), f"{klass}/{stem(inner)}"):
            if name in self.found:
                return self.found[name]
        return []


def stem(inner: str) -> str:
    """Path without suffix, and without the archive that it lies in."""
    return PurePosixPath(inner.rpartition("!/")[2]).with_suffix("").as_posix()


def scan(raw: RawFolder, *, roots: Sequence[Root], split: Split, mask_suffix: str) -> list[Candidate]:
    """Every image of the folders; one whose name does not say what it should is a candidate that is refused."""
    masks = masks_of(raw, roots, mask_suffix)
    found = []
    for root in (root for root in roots if root.klass):
        for path, inner in root.files(raw, roots):
            patient, why = _patient(split, inner)
            taken = {} if root.klass == "normal" else {name: one.take(root.klass, inner) for name, one in masks.items()}
            if double := next((paths for paths in taken.values() if len(paths) > 1), None):
                why = f"expected one mask of a lesion, got {' and '.join(double)}"
            found.append(
                Candidate(
                    path=path,
                    key=path,
                    klass=root.klass,
                    part=root.link,
                    source=root.link,
                    official=root.split,
                    patient=patient,
                    masks={name: paths[0] for name, paths in taken.items() if paths},
                    refused=why,
                )
            )
    return sorted(found, key=lambda item: item.path)


def masks_of(raw: RawFolder, roots: Sequence[Root], suffix: str) -> dict[str, Masks]:
    """Masks by lesion; a file without the suffix is none."""
    found: dict[str, Masks] = {}
    for root in (root for root in roots if root.lesion):
        held = found.setdefault(root.lesion, Masks()).found
        for path, inner in root.files(raw, roots):
            name = stem(inner)
            if name.endswith(suffix):
                held.setdefault(name.removesuffix(suffix), []).append(path)
    return found


def _patient(split: Split, inner: str) -> tuple[str, str]:
    """The patient's id and why there is none."""
    if not split.patient:
        return "", ""
    match = re.search(split.patient, inner)
    if match is None or not match[1]:
        return "", f"no patient's id: expected a path that fits {split.patient}, got {inner}"
    return match[1], ""
