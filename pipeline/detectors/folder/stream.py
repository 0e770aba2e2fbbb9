"""Many files through a detector in bounded memory: reading and cutting on threads, scoring in batches, in order."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline.data.read.frames import Frame, read_frames
from pipeline.detectors.frozen.detector import Detector, Finding
from pipeline.errors import UnusableImage
from pipeline.forms.form import SlotTile

BATCH = 16  # images scored at once
BATCH_BYTES = 100_000_000  # fewer where they are large: their pixels wait for their overlays
AHEAD = 4  # files read ahead of the scoring
PARTS = 8  # frames of one file held at once: a long volume is read in several turns


@dataclass(frozen=True)
class Scored:
    """What came of one frame of a file: a finding, or the reason why there is none."""

    path: Path
    sha256: str  # of the file; empty where it could not be read
    number: int
    finding: Finding | None
    reason: str = ""


@dataclass(frozen=True)
class _Cut:
    frame: Frame
    sha256: str
    tiles: tuple[SlotTile, ...] = ()
    reason: str = ""

    @property
    def size(self) -> int:
        return 0 if self.frame.pixels is None else int(self.frame.pixels.nbytes)

    def scored(self, finding: Finding | None) -> Scored:
        return Scored(self.frame.path, self.sha256, self.frame.number, finding, self.reason)


def stream(
    detector: Detector, paths: Iterable[Path], *, workers: int = 2, ended: Callable[[Path], None] = lambda path: None
) -> Iterator[Scored]:
    """Score every frame of every file, in order; ``ended`` is called when a file is done.

    A file or a frame that cannot be used comes with its reason, and the rest goes on.
    """
    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting: deque[tuple[Path, Future[list[_Cut]], Iterator[Frame], str]] = deque()
        batch: list[_Cut] = []
        files = iter(paths)

        def open_next() -> None:
            for path in islice(files, 1):
                digest, frames = _sha256(path), read_frames(path)
                waiting.append((path, pool.submit(_cut, detector, frames, digest), frames, digest))

        for _ in range(AHEAD):
            open_next()
        while waiting:
            path, future, frames, digest = waiting.popleft()
            cuts = future.result()
            if len(cuts) == PARTS:
                waiting.appendleft((path, pool.submit(_cut, detector, frames, digest), frames, digest))
            else:
                open_next()
            for cut in cuts:
                batch.append(cut)
                if len(batch) == BATCH or sum(one.size for one in batch) > BATCH_BYTES:
                    yield from _flush(detector, batch)
                    batch = []
            if len(cuts) < PARTS:
                ended(path)
        yield from _flush(detector, batch)


def _cut(detector: Detector, frames: Iterator[Frame], sha256: str) -> list[_Cut]:
    return [_cut_one(detector, frame, sha256) for frame in islice(frames, PARTS)]


def _cut_one(detector: Detector, frame: Frame, sha256: str) -> _Cut:
    if frame.pixels is None:
        return _Cut(frame, sha256, reason=frame.reason)
    try:
        return _Cut(frame, sha256, tiles=detector.cut(frame.pixels))
    except UnusableImage as error:
        return _Cut(Frame(frame.path, frame.number, None), sha256, reason=str(error))


def _flush(detector: Detector, batch: list[_Cut]) -> Iterator[Scored]:
    usable = [(cut.frame.pixels, cut.tiles) for cut in batch if cut.frame.pixels is not None and cut.tiles]
    findings = iter(detector.score_tiles(usable) if usable else ())
    for cut in batch:
        yield cut.scored(next(findings) if cut.tiles else None)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""  # the reading says why
