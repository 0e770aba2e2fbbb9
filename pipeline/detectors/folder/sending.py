"""Files to score that are sent to workers of a cluster: in which batches, with what beside them, and as files there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from pipeline.data.archives import Archive
from pipeline.data.members import File, Member, Refused
from pipeline.data.read.dicom_stored import is_dicom
from pipeline.data.read.folder import on_disk
from pipeline.data.walk import head_of
from pipeline.store.shards import TOGETHER

BATCH = 32  # files scored by one task, if each is sent alone; does not affect the result
PAIR = {".hdr": ".img", ".img": ".hdr"}


@dataclass(frozen=True)
class Sent:
    """A file as a worker finds it."""

    path: str  # as the user named it; of a member ``archive.zip!/inner/path``
    place: str  # below the folder of what was sent
    member: str = ""  # name in the archive that ``place`` is

    def there(self, folder: Path, archives: dict[str, Archive]) -> File:
        """The file on a worker that has what was sent in a folder; ``archives`` keeps open ones."""
        if not self.member:
            return folder / self.place
        if self.place not in archives:
            archives[self.place] = Archive(folder / self.place, None)
        return Member(Path(self.path), archives[self.place], self.member)


@dataclass(frozen=True)
class Batch:
    """Files that follow one another; those that cannot be sent are scored by whoever asks."""

    files: Sequence[File]
    sent: tuple[Sent, ...] = ()  # as many as files, or none
    needs: tuple[tuple[str, Path], ...] = ()  # place and path of all that the files are read from


def batches(files: Sequence[File]) -> Iterator[Batch]:
    """Batches of all files in order; large ones of an archive or a folder with DICOM, as it is sent as a whole."""
    for together, group in groupby(files, key=_together):
        some = list(group)
        step = TOGETHER if together else BATCH
        for at in range(0, len(some), step):
            part = some[at : at + step]
            yield Batch(part) if together == _HERE else _batch(part)


_HERE = "/"  # stands for files that cannot be sent; no name of a file


def _together(file: File) -> str:
    """What is sent as a whole: an archive or a folder with DICOM; empty for a file alone."""
    if isinstance(file, Member):
        return str(file.archive.path)
    try:
        if isinstance(file, Refused) or not file.is_file():
            return _HERE
        dicom = is_dicom(head_of(file))
        for name in [] if dicom else _beside(file):
            head_of(file.parent / name)
    except OSError:
        return _HERE
    return f"{file.parent}/ DICOM" if dicom else ""


def _batch(files: Sequence[File]) -> Batch:
    folders, sent, needs = dict[Path, int](), list[Sent](), dict[str, Path]()
    for file in files:
        path, member = (file.archive.path, file.name) if isinstance(file, Member) else (Path(str(file)), "")
        above = str(folders.setdefault(path.parent, len(folders)))
        place = f"{above}/{path.name}"
        sent.append(Sent(str(file), place, member))
        beside = [] if member or place in needs else _beside(path)
        needs |= {f"{above}/{name}": path.parent / name for name in [path.name, *beside]}
    return Batch(files, tuple(sent), tuple(needs.items()))


def _beside(path: Path) -> Sequence[str]:
    """Names of other files that reading this one takes: voxels of a header, all DICOM beside a DICOM file."""
    if is_dicom(head_of(path)):
        return _dicom_in(path.parent)
    other = PAIR.get(path.suffix.lower())
    return [name] if other and (name := on_disk(path).twin(other)) else []


def _dicom_in(folder: Path) -> Sequence[str]:
    """Names of all DICOM files in a folder that can be opened."""
    found = []
    for path in sorted(each for each in folder.iterdir() if each.is_file()):
        try:
            if is_dicom(head_of(path)):
                found.append(path.name)
        except OSError:  # which says nothing of the files beside it
            continue
    return found
