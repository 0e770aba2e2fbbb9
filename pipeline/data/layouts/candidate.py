"""What a layout finds: one record for each image, before any pixel is read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.data.raw import RawFolder


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An image where the official layout expects one."""

    path: str  # as in RawFolder
    key: str  # part and name in the official layout, wherever the download is: "test/CNV/CNV-53018-1.jpeg"
    klass: str  # one of the data set's classes; the first of them is normal
    part: str  # part of the official download, as in the data set's official counts: "train"
    source: str  # data source in words, for the table
    official: str = ""  # split that the data set's authors put it in: "train", "test" or "" for none
    patient: str = ""  # patient id, if the name has one
    order: int = -1  # number in the official order, if the name has only that
    masks: Mapping[str, str] = field(default_factory=dict)  # lesion name → path of its mask
    refused: str = ""  # why it goes to the quarantine, if its name tells


def first_copies(raw: RawFolder, candidates: Iterable[Candidate]) -> list[Candidate]:
    """Candidates without copies of the same official file, ordered by path; of an unpacked and a packed one, the first.

    A download that is there both packed and unpacked, or an archive that holds its tree twice, counts once. A file of
    the same name with other content is another image and stays.
    """
    kept: dict[str, list[Candidate]] = {}
    for item in sorted(candidates, key=lambda item: ("!/" in item.path, item.path)):
        twins = [twin for twin in kept.get(item.key, []) if raw.sizes[twin.path] == raw.sizes[item.path]]
        if not any(raw.sha256(twin.path) == raw.sha256(item.path) for twin in twins):
            kept.setdefault(item.key, []).append(item)
    return sorted((item for items in kept.values() for item in items), key=lambda item: item.path)
