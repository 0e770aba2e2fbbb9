"""Scoring files on workers of a cluster, which fetch the detector and the files from the bucket; results in order.

Files go in rounds, which bound what lies in the bucket, on this disk and in memory. What a killed run had of its round
is found again in the bucket.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from shutil import rmtree
from typing import Any

from pipeline.data.archives import Archive
from pipeline.data.members import File
from pipeline.detectors.folder.output import ScoreFolder
from pipeline.detectors.folder.rows import FrameRows, Rows
from pipeline.detectors.folder.sending import Batch, Sent, batches
from pipeline.detectors.folder.stream import ScoredFrame, stream
from pipeline.detectors.frozen.detector import Detector
from pipeline.detectors.frozen.files import read_detector
from pipeline.store.files import write_file
from pipeline.store.shards import run_tasks
from pipeline.store.shared import SharedStore
from pipeline.store.versions import Version, fingerprint
from pipeline.store.workers import NEEDS, spread

ROUND = 2048  # files sent at once, at least; does not affect the result
GIVEN = "parts"  # folder, below the work folder, of what batches gave
LINES = "lines.jsonl"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where files are scored, and by which version of a detector."""

    scheduler_address: str
    store: SharedStore
    version: Version
    device: str


def score_on_workers(
    cluster: Cluster, folder: ScoreFolder, files: Iterable[File], *, ended: Callable[[int], object]
) -> Iterator[Rows]:
    """Score the files that are left of all ``files`` and write what they give; as ``ScoreFolder.add_all``.

    ``ended`` is called with the number of files that are done.
    """
    every = list(files)
    key = fingerprint(folder.rows, cluster.version.data_version, str(folder.folder.resolve()), [str(f) for f in every])
    left = set(folder.left)
    with cluster.store.building(f"{folder.detector.dataset}/scores", key) as work:
        for some in _rounds(batch for batch in batches(every) if not left.isdisjoint(batch.files)):
            sent = [batch for batch in some if batch.sent]
            _score_round(cluster, folder, sent, work)
            for batch in some:
                for file, rows in _given(batch, folder, work) if batch.sent else _scored_here(folder, batch):
                    if file in left:
                        yield folder.write(rows)
                ended(len(left.intersection(batch.files)))
            _clear(cluster.store, work)


def _rounds(every: Iterable[Batch]) -> Iterator[list[Batch]]:
    some = list[Batch]()
    for batch in every:
        some.append(batch)
        if sum(len(each.files) for each in some) >= ROUND:
            yield some
            some = []
    if some:
        yield some


def _score_round(cluster: Cluster, folder: ScoreFolder, some: list[Batch], work: Path) -> None:
    """Have batches scored; what they gave is below ``work`` afterwards."""
    there = partial(
        _score_batch,
        detector=cluster.version.path,
        device=cluster.device,
        rows=folder.rows,
        files=work / NEEDS,
        given=work / GIVEN,
    )
    run = partial(run_tasks, title="batches", scheduler_address=cluster.scheduler_address)
    spread(cluster.store, there, [batch.sent for batch in some], work, run, [dict(batch.needs) for batch in some])


def _clear(store: SharedStore, work: Path) -> None:
    """Remove a round that has been written."""
    store.remote.remove(store.remote.names(work.relative_to(store.root).as_posix()))
    for inner in list(work.iterdir()):
        rmtree(inner)


def _name(sent: tuple[Sent, ...]) -> str:
    return fingerprint(sent)


def _score_batch(
    sent: tuple[Sent, ...], *, detector: Path, device: str, rows: FrameRows, files: Path, given: Path
) -> None:
    """Score files on a worker that has what was sent in the folder ``files``; a line of JSON a frame, and overlays."""
    archives = dict[str, Archive]()
    there = [one.there(files, archives) for one in sent]
    names = {str(file): one.path for file, one in zip(there, sent, strict=True)}
    place = given / _name(sent)
    place.mkdir(parents=True)
    with (place / LINES).open("w", encoding="utf-8") as lines:
        for frame in stream(_detector(detector, device).member(rows.method), there):
            local = str(frame.path)
            named = replace(frame, path=Path(names[local]), reason=frame.reason.replace(local, names[local]))
            one = rows.of(named)
            if one.overlay:
                write_file(place / one.overlay, one.picture, durable=False)
            written = {name: value for name, value in vars(one).items() if name != "picture"}
            lines.write(json.dumps({"file": names[local], **written}) + "\n")


@lru_cache(maxsize=1)
def _detector(folder: Path, device: str) -> Detector:
    """The detector of a version, read once a worker."""
    return read_detector(folder, device=device)


def _given(batch: Batch, folder: ScoreFolder, work: Path) -> Iterator[tuple[File, Rows]]:
    """What a batch gave, frame by frame."""
    place, files = work / GIVEN / _name(batch.sent), {str(file): file for file in batch.files}
    with (place / LINES).open(encoding="utf-8") as lines:
        for line in lines:
            found: dict[str, Any] = json.loads(line)
            file = files[found.pop("file")]
            picture = (place / found["overlay"]).read_bytes() if found["overlay"] else b""
            yield file, Rows(**found | {"picture": picture, "told": tuple(found["told"])})


def _scored_here(folder: ScoreFolder, batch: Batch) -> Iterator[tuple[File, Rows]]:
    """What files give that cannot be sent."""
    files = {str(file): file for file in batch.files}
    frames: Iterator[ScoredFrame] = stream(folder.detector, batch.files)
    yield from ((files[str(frame.path)], folder.rows.of(frame)) for frame in frames)
