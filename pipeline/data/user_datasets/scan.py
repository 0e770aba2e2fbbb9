"""From the user's folders to candidates: every image in them, with the patient and the masks found by name."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.data.layouts.candidate import Candidate
from pipeline.data.raw import KINDS, RawFolder
from pipeline.data.user_datasets.description import Split

IMAGES = tuple(kind for kind in KINDS if kind != ".csv")
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

    def inside(self, others: "Sequence[Root]") -> list[str]:
        """The others that are below this one, as relative paths: their files do not belong to this one."""
        here = self.folder.resolve()
        folders = [other.folder.resolve() for other in others if other.link != self.link]
        return sorted(folder.relative_to(here).as_posix() for folder in folders if here in folder.parents)

    def files(self, raw: RawFolder, others: "Sequence[Root]") -> Iterator[tuple[str, str]]:
        """(path as in ``raw``, path below the folder) of every image in it that is in no other folder below it."""
        inner = tuple(f"{self.link}/{name}/" for name in self.inside(others))
        for path in raw.paths():
            if path.startswith(f"{self.link}/") and path.lower().endswith(IMAGES) and not path.startswith(inner):
                yield path, path.removeprefix(f"{self.link}/")


def scan(raw: RawFolder, *, roots: Sequence[Root], split: Split, mask_suffix: str) -> list[Candidate]:
    """Every image of the folders; one without a patient's id, or with two masks of a lesion, is a refused candidate."""
    masks = find_masks(raw, roots, mask_suffix)
    found = []
    for root in (root for root in roots if root.klass):
        for path, inner in root.files(raw, roots):
            patient, refused = _patient(split, inner)
            own = {} if root.klass == "normal" else {name: _masks_of(each, root, inner) for name, each in masks.items()}
            if several := next((paths for paths in own.values() if len(paths) > 1), None):
                refused = f"expected one mask of a lesion, got {' and '.join(several)}"
            found.append(
                Candidate(
                    path=path,
                    key=path,
                    klass=root.klass,
                    part=root.link,
                    source=root.link,
                    official=root.split,
                    patient=patient,
                    masks={lesion: paths[0] for lesion, paths in own.items() if paths},
                    refused=refused,
                )
            )
    return sorted(found, key=lambda item: item.path)


def find_masks(raw: RawFolder, roots: Sequence[Root], suffix: str) -> dict[str, Masks]:
    """Masks by lesion; a file whose name lacks the suffix is no mask."""
    found: dict[str, Masks] = {}
    for root in (root for root in roots if root.lesion):
        masks = found.setdefault(root.lesion, {})
        for path, inner in root.files(raw, roots):
            if (name := _stem(inner)).endswith(suffix):
                masks.setdefault(name.removesuffix(suffix), []).append(path)
    return found


def _masks_of(masks: Masks, root: Root, inner: str) -> list[str]:
    """The masks of an image: at the same path, or below a folder of its class."""
    name = _stem(inner)
    return masks.get(name) or masks.get(f"{root.klass}/{name}") or []


def _stem(inner: str) -> str:
    """Path without the suffix and without the archive."""
    return PurePosixPath(inner.rpartition("!/")[2]).with_suffix("").as_posix()


def _patient(split: Split, inner: str) -> tuple[str, str]:
    """The patient's id, or the reason why there is none."""
    if not split.patient:
        return "", ""
    match = re.search(split.patient, inner)
    if match is None or not match[1]:
        return "", f"no patient's id: expected a path that fits {split.patient}, got {inner}"
    return match[1], ""
