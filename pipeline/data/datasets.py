"""The built-in data sets, one row each, and what a raw folder holds of them.

Official counts name only the parts that the lanes use.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data import layouts
from pipeline.data.archives import PACKED, Archive, inflated_copy
from pipeline.data.duplicates import DuplicateRule
from pipeline.data.raw import RawFolder
from pipeline.data.splits import SplitRule, by_duplicate_group, by_hash_order, by_patient_block
from pipeline.errors import DatasetUnusable, UnusableImage


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Everything known about a data set before a file is read."""

    name: str
    title: str
    classes: tuple[str, ...]  # the first is normal, label 0; all others are label 1
    lesions: tuple[str, ...] = ()  # names of the lesion masks; empty where there are none
    licence: str
    shared: bool = False  # whether the licence lets anyone pass its images on
    citation: str
    url: str
    official: Mapping[str, Mapping[str, int]]  # part of the download → class → images in the official set
    layout: str  # the expected paths, one a line, for error messages
    scan: Callable[[RawFolder], list[layouts.Candidate]]
    split: SplitRule
    shares: tuple[float, float, float, float]  # of the normals: train, val, holdout, test; they sum to 1
    duplicates: DuplicateRule | None = None  # when two images count as the same; None: not searched
    middle: float = 1.0  # share of each side in which duplicates are searched, in (0, 1]
    conflicts: Mapping[str, str] = field(default_factory=dict)  # candidate key → why it goes to the quarantine
    stacks: bool = False  # whether a file may hold several images, and headers tell patients and volumes
    described: str = ""  # hash of a user's description, as far as it affects the manifest

    @property
    def judged(self) -> bool:
        """Whether it has classes of abnormal images, so that a detector can be evaluated."""
        return len(self.classes) > 1

    @property
    def decides(self) -> tuple[object, ...]:
        """The parts of the row that affect the manifest."""
        values = self.shares, self.duplicates, self.middle, dict(self.conflicts), self.described
        return values if self.described else values[:-1]

    @property
    def wanted(self) -> str:
        """The expected files, for error messages."""
        return f"expected there, all of it or a part:\n{self.layout}" + (f"\ndownload: {self.url}" if self.url else "")


class Listing(RawFolder):
    """A raw folder that is only listed: no file is read, and no packed tar is inflated (``closed`` names those)."""

    closed: tuple[str, ...] = ()

    def opened(self, path: Path) -> Archive:
        """An archive that can be listed at once; raises ``UnusableImage`` for the others."""
        packed = path.name.lower().endswith(PACKED)
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
        """Whether there are normal images, and abnormal ones where the data set has classes of them."""
        found = {klass for classes in self.counts.values() for klass, count in classes.items() if count}
        return self.dataset.classes[0] in found and (len(found) > 1 or not self.dataset.judged)

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


BRAIN_MRI = Dataset(
    name="brain_mri",
    title="Brain MRI (Sartaj and the normals of Br35H)",
    classes=("normal", "glioma", "meningioma", "pituitary"),
    licence="Sartaj: CC0 as published on Kaggle; Br35H: no licence stated",
    citation="Bhuvaji et al., Brain Tumor Classification (MRI), Kaggle 2020; Hamada, Br35H, Kaggle 2020",
    url="https://www.kaggle.com/datasets/sartajbhuvaji/brain-tumor-classification-mri",
    official={
        "sartaj/Training": {"normal": 395, "glioma": 826, "meningioma": 822, "pituitary": 827},
        "sartaj/Testing": {"normal": 105, "glioma": 100, "meningioma": 115, "pituitary": 74},
        "br35h/no": {"normal": 1500},
    },
    layout=layouts.BRAIN_MRI,
    scan=layouts.scan_brain_mri,
    split=by_duplicate_group,
    shares=(0.50, 0.15, 0.10, 0.25),
    duplicates=DuplicateRule(),
)

OCT = Dataset(
    name="oct",
    title="Retinal OCT (OCT2017)",
    classes=("normal", "CNV", "DME", "DRUSEN"),
    licence="CC BY 4.0",
    shared=True,
    citation="Kermany et al., Cell 172 (2018) 1122-1131, doi:10.1016/j.cell.2018.02.010",
    url="https://data.mendeley.com/datasets/rscbjbr9sj",
    official={"train": {"normal": 26315}, "test": {"normal": 250, "CNV": 250, "DME": 250, "DRUSEN": 250}},
    layout=layouts.OCT,
    scan=layouts.scan_oct,
    split=by_patient_block,
    shares=(0.69, 0.155, 0.155, 0.0),
)

IDRID = Dataset(
    name="idrid",
    title="Fundus photographs (IDRiD)",
    classes=("normal", "diabetic_retinopathy"),
    lesions=tuple(layouts.LESIONS),
    licence="CC BY 4.0",
    shared=True,
    citation="Porwal et al., Data 3 (2018) 25, doi:10.3390/data3030025; Med. Image Anal. 59 (2020) 101561",
    url="https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid",
    official={
        "A/train": {"diabetic_retinopathy": 54},
        "A/test": {"diabetic_retinopathy": 27},
        "B/train": {"normal": 134},
        "B/test": {"normal": 34},
    },
    layout=layouts.IDRID,
    scan=layouts.scan_idrid,
    split=by_hash_order,
    shares=(0.705, 0.185, 0.11, 0.0),
    # All fundus images look alike but for their vessels, so only high-passed images are compared, inside the round
    # field, whose rim is the same in all (largest correlation among 133 normals: .41).
    duplicates=DuplicateRule(plain=1.0, hash_bits=-1),
    middle=0.5,
    conflicts={
        "B/train/IDRiD_118": "conflicting labels: grade 0 here, and the same image stands in the official "
        "testing set under another number with grade 3"
    },
)

DATASETS: dict[str, Dataset] = {row.name: row for row in (BRAIN_MRI, OCT, IDRID)}
