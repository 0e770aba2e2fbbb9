"""Score many files in bounded memory: threads read and cut, frames are scored in batches, results come in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from pipeline.data.decode import Frame
from pipeline.data.members import File, Member, frames_of
from pipeline.data.read.folder import on_disk, sha256
from pipeline.detectors.frozen.detector import Detector, ScoredImage
from pipeline.errors import UnusableImage
from pipeline.forms.form import SlotTile

BATCH = 16  # images scored at once
BATCH_BYTES = 100_000_000  # pixels of a batch; limits batches of large images, which stay in memory for their overlays
AHEAD = 4  # files read ahead of the scoring
PARTS = 8  # frames of one file held at once; a long volume is read in several parts
WORKERS = 2  # threads that read and cut


@dataclass(frozen=True)
class ScoredFrame:
    """Result for one frame of a file, or the reason why there is none."""

    path: Path
    sha256: str  # of the file; empty if it cannot be read
    number: int
    image: ScoredImage | None
    reason: str = ""
    gray_values: str = ""  # what was done to them
    kind: str = UnusableImage.kind  # the decision without an image: unusable, no image or empty slice
    series: str = ""  # of DICOM: its slices are in several files


@dataclass(frozen=True)
class _Cut:
    """A frame with its tiles; a frame without pixels cannot be used."""

    frame: Frame
    sha256: str
    tiles: tuple[SlotTile, ...] = ()


@dataclass(frozen=True)
class _File:
    """A file that is being read."""

    path: Path
    sha256: str
    frames: Iterator[Frame]

    def cut(self, detector: Detector) -> list[_Cut]:
        """Read and cut the next ``PARTS`` frames; fewer at the end of the file."""
        return [self._cut(detector, frame) for frame in islice(self.frames, PARTS)]

    def _cut(self, detector: Detector, frame: Frame) -> _Cut:
        if frame.pixels is None:
            return _Cut(frame, self.sha256)
        try:
            return _Cut(frame, self.sha256, detector.cut(frame.pixels))
        except UnusableImage as error:
            return _Cut(replace(frame, pixels=None, reason=str(error), kind=error.kind), self.sha256)
        except Exception as error:  # noqa: BLE001 - the border of a file: the others are still scored
            reason = f"cannot be cut: {type(error).__name__}: {error}"
            return _Cut(replace(frame, pixels=None, reason=reason), self.sha256)


def stream(
    detector: Detector, files: Iterable[File], *, ended: Callable[[Path], None] = lambda path: None
) -> Iterator[ScoredFrame]:
    """Score every frame of every file, in order; ``ended`` is called when a file is done.

    A file or frame that cannot be used gives its reason; the others are still scored.
    """
    batch, size = list[_Cut](), 0
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        for cut in _cuts(detector, files, pool, ended):
            batch.append(cut)
            size += 0 if cut.frame.pixels is None else cut.frame.pixels.nbytes
            if len(batch) == BATCH or size > BATCH_BYTES:
                yield from _score(detector, batch)
                batch, size = [], 0
        yield from _score(detector, batch)


def _cuts(detector: Detector, given: Iterable[File], pool: Executor, ended: Callable[[Path], None]) -> Iterator[_Cut]:
    """Frames in order, read and cut by the pool ``PARTS`` at a time, at most ``AHEAD`` files ahead."""
    waiting: deque[tuple[_File, Future[list[_Cut]]]] = deque()
    files = (_File(one if isinstance(one, Path) else one.path, file_sha256(one), frames_of(one)) for one in given)

    def submit(some: Iterable[_File]) -> list[tuple[_File, Future[list[_Cut]]]]:
        return [(file, pool.submit(file.cut, detector)) for file in some]

    waiting.extend(submit(islice(files, AHEAD)))
    while waiting:
        file, future = waiting.popleft()
        cuts = future.result()
        finished = len(cuts) < PARTS
        if finished:
            waiting.extend(submit(islice(files, 1)))
        else:
            waiting.extendleft(submit([file]))
        yield from cuts
        if finished:
            ended(file.path)


def _score(detector: Detector, batch: list[_Cut]) -> Iterator[ScoredFrame]:
    usable = [(cut.frame.pixels, cut.tiles) for cut in batch if cut.frame.pixels is not None]
    images = iter(detector.score_tiles(usable) if usable else ())
    for cut in batch:
        frame = cut.frame
        image = None if frame.pixels is None else next(images)
        told = frame.reason, frame.gray_values, frame.kind, frame.origin.series
        yield ScoredFrame(frame.path, cut.sha256, frame.number, image, *told)


def file_sha256(file: File) -> str:
    """SHA-256 of a file, empty if it cannot be read: reading its frames gives the reason."""
    try:
        if isinstance(file, Member):
            return file.sha256()
        path = file if isinstance(file, Path) else file.path
        if not path.is_file():  # reading a pipe would never end
            return ""
        with path.open("rb") as source:
            return sha256(source, on_disk(path))
    except (OSError, UnusableImage):
        return ""
