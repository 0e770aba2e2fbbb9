"""What lies in a data set's raw folder: archives that open or not, and images by part as the layout finds them."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data.archives import SUFFIXES, Archive, inflated_copy
from pipeline.data.datasets import Dataset
from pipeline.data.raw import RawFolder
from pipeline.errors import DatasetUnusable, UnusableImage

_GZIP = (".tar.gz", ".tgz")


class Listing(RawFolder):
    """The same files without their content: of two of one name and size, one counts, and no .tar.gz is inflated.

    ``closed`` names the archives that were left packed for that.
    """

    def __init__(self, root: Path, cache: Path | None = None) -> None:
        super().__init__(root, cache)
        self.closed: list[str] = []

    def opened(self, path: Path) -> Archive:
        """Archives that can be listed at once; others count as broken."""
        packed = path.name.lower().endswith(_GZIP)
        if packed and (self.cache is None or not inflated_copy(path, self.cache).is_file()):
            self.closed.append(path.relative_to(self.root).as_posix())
            raise UnusableImage("left packed: listing it takes minutes")
        return super().opened(path)

    def sha256(self, path: str) -> str:
        """A stand-in that is equal for files of one size."""
        return hashlib.sha256(str(self.sizes[path]).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Presence:
    """What was found of a data set."""

    dataset: Dataset
    folder: Path
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # part → class → candidate images
    archives: tuple[str, ...] = ()  # that opened
    closed: tuple[str, ...] = ()  # left packed
    broken: Mapping[str, str] = field(default_factory=dict)  # archive → why it cannot be read
    problem: str = ""  # why nothing could be counted

    @property
    def images(self) -> int:
        """Candidates of all parts and classes."""
        return sum(sum(classes.values()) for classes in self.counts.values())

    @property
    def usable(self) -> bool:
        """Whether there are normal and abnormal images: a lane needs both."""
        normal = self.dataset.classes[0]
        there = [klass for classes in self.counts.values() for klass, count in classes.items() if count]
        return normal in there and any(klass != normal for klass in there)

    @property
    def complete(self) -> bool:
        """Whether no official part has fewer images than it should."""
        official = self.dataset.official.items()
        return all(self.counts.get(part, {}).get(k, 0) >= n for part, classes in official for k, n in classes.items())


def look(dataset: Dataset, folder: Path, *, cache: Path | None = None, quick: bool = False) -> Presence:
    """Look at a raw folder; ``quick`` reads no image and inflates nothing, otherwise twins are told by content.

    ``cache`` is where inflated archives are kept (see ``RawFolder``).
    """
    try:
        raw = Listing(folder, cache) if quick else RawFolder(folder, cache)
        counts: dict[str, Counter[str]] = {}
        for item in dataset.scan(raw):
            counts.setdefault(item.part, Counter())[item.klass] += 1
    except DatasetUnusable as error:
        return Presence(dataset=dataset, folder=folder, problem=str(error))
    closed = tuple(raw.closed) if isinstance(raw, Listing) else ()
    broken = {name: why for name, why in raw.broken.items() if name not in closed}
    opened = {path.partition("!/")[0] for path in raw.paths() if "!/" in path}
    return Presence(
        dataset=dataset,
        folder=folder,
        counts=counts,
        archives=tuple(sorted(opened)),
        closed=closed,
        broken=broken,
        problem="" if counts or closed else f"expected images in {folder}, found none",
    )


def archives_in(folder: Path) -> list[Path]:
    """Archives right in the folder and below it, hidden ones left out, sorted."""
    found = [path for path in folder.rglob("*") if path.name.lower().endswith(SUFFIXES) and path.is_file()]
    return sorted(path for path in found if not any(p.startswith(".") for p in path.relative_to(folder).parts))
