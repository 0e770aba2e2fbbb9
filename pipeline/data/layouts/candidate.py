"""What a layout finds: one record an image, before a single pixel was read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.data.raw import RawFolder


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An image where the official layout puts one."""

    path: str  # as in RawFolder
    key: str  # part and name in the official layout, wherever the download lies: "test/CNV/CNV-53018-1.jpeg"
    klass: str  # one of the data set's classes; the first of them is normal
    part: str  # part of the official download, as in the data set's official counts: "train"
    source: str  # data source in words, for the table
    official: str = ""  # split that the data set's authors put it in: "train", "test" or "" for none
    patient: str = ""  # patient id where the name carries one
    order: int = -1  # place in the official order where the name carries only that
    masks: Mapping[str, str] = field(default_factory=dict)  # lesion name → path of its mask
    refused: str = ""  # why it goes to the quarantine, where its name alone says so


def first_copies(raw: RawFolder, candidates: Iterable[Candidate]) -> list[Candidate]:
    """Candidates without second copies of the same official file, ordered by path, open files before packed ones.

    A download that lies both packed and unpacked, or an archive that holds its tree twice, counts once. A file of
    the same name with another content is another image and stays.
    """
    kept: dict[str, list[Candidate]] = {}
    for item in sorted(candidates, key=lambda item: ("!/" in item.path, item.path)):
        twins = [twin for twin in kept.get(item.key, []) if raw.sizes[twin.path] == raw.sizes[item.path]]
        if not any(raw.sha256(twin.path) == raw.sha256(item.path) for twin in twins):
            kept.setdefault(item.key, []).append(item)
    return sorted((item for items in kept.values() for item in items), key=lambda item: item.path)
