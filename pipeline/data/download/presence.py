"""What a data set's raw folder holds: archives that open or not, and images by part as the layout finds them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data.datasets import Dataset
from pipeline.data.raw import ARCHIVES, Archive, RawFolder, inflated_copy
from pipeline.errors import DatasetUnusable, UnusableImage


class Listing(RawFolder):
    """A raw folder that is only listed: no file is read, and no .tar.gz is inflated (``closed`` names those)."""

    closed: tuple[str, ...] = ()

    def opened(self, path: Path) -> Archive:
        """An archive that can be listed at once; raises ``UnusableImage`` for the others."""
        packed = path.name.lower().endswith((".tar.gz", ".tgz"))
        if packed and (self.cache is None or not inflated_copy(path, self.cache).is_file()):
            self.closed += (path.relative_to(self.root).as_posix(),)
            raise UnusableImage("not opened: listing it takes minutes")
        return super().opened(path)

    def sha256(self, path: str) -> str:
        """The same for all files: two of one name and size then count as one."""
        return ""


@dataclass(frozen=True, kw_only=True)
class Presence:
    """What was found of a data set."""

    dataset: Dataset
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # part → class → candidate images
    closed: tuple[str, ...] = ()  # archives that were not opened
    broken: Mapping[str, str] = field(default_factory=dict)  # archive → why it cannot be read
    problem: str = ""  # why nothing could be counted

    @property
    def images(self) -> int:
        """Candidates of all parts and classes."""
        return sum(sum(classes.values()) for classes in self.counts.values())

    @property
    def usable(self) -> bool:
        """Whether there are normal and abnormal images: a lane needs both."""
        found = {klass for classes in self.counts.values() for klass, count in classes.items() if count}
        return self.dataset.classes[0] in found and len(found) > 1

    @property
    def complete(self) -> bool:
        """Whether no official part has fewer images than it should."""
        official = self.dataset.official.items()
        return all(self.counts.get(part, {}).get(k, 0) >= n for part, classes in official for k, n in classes.items())


def look(dataset: Dataset, folder: Path, *, cache: Path | None = None, quick: bool = False) -> Presence:
    """Count the images of a raw folder. ``quick`` reads no file; otherwise copies are told apart by content."""
    try:
        raw = Listing(folder, cache) if quick else RawFolder(folder, cache)
        counts: dict[str, Counter[str]] = {}
        for item in dataset.scan(raw):
            counts.setdefault(item.part, Counter())[item.klass] += 1
    except DatasetUnusable as error:
        return Presence(dataset=dataset, problem=str(error))
    closed = raw.closed if isinstance(raw, Listing) else ()
    broken = {name: reason for name, reason in raw.broken.items() if name not in closed}
    problem = "" if counts or closed else f"expected images in {folder}, found none"
    return Presence(dataset=dataset, counts=counts, closed=closed, broken=broken, problem=problem)


def archives_in(folder: Path) -> list[Path]:
    """Archives in the folder and below it except hidden ones, sorted."""
    found = [path for path in folder.rglob("*") if path.name.lower().endswith(ARCHIVES) and path.is_file()]
    return sorted(path for path in found if not any(p.startswith(".") for p in path.relative_to(folder).parts))
