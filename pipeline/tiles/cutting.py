"""First pass of a tiles build: cut images, batch by batch, into part files named by the images' content."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numcodecs import Zstd  # type: ignore[import-untyped]
from numpy.typing import NDArray

from pipeline.data.decode import Frame
from pipeline.data.raw import RawFolder
from pipeline.data.read.dicom_series import SERIES
from pipeline.data.slices import Mask, file_of, masks_sha256, read_mask, read_slices
from pipeline.errors import REMEDY, DatasetUnusable, UnusableImage
from pipeline.forms.form import NO_DATA, SCORED, Form, SlotTile, slots
from pipeline.store.files import write_file
from pipeline.store.shards import TOGETHER, run_tasks
from pipeline.store.versions import Store, fingerprint

_PARSING = Lock()  # numpy parses headers as Python; in some releases (3.11) parsers in two threads break each other
BATCH = 8  # images cut by one task: the work lost if it is killed; does not affect the result
Batch = Sequence[dict[str, Any]]  # rows of a manifest
PLACE = ("slot", "canvas", "canvas_row", "canvas_col", "transform", "offset_row", "offset_col", "scored_fraction")
"""Columns of the index that depend on the image's content; all others but ``tile`` come from the manifest."""


@dataclass(frozen=True, kw_only=True)
class CutResult:
    """What one image gave: the places of its tiles, or the reason why it was refused."""

    places: Sequence[dict[str, Any]] = ()  # PLACE → value
    reason: str = ""
    lasting: bool = True  # False if a file could not be read: trying again may give another result


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """All parts of a build: results in the order of the images, and which rows each part holds."""

    parts: Sequence[Path]
    ends: NDArray[np.int64]  # last row + 1 of each part, counted over all parts
    results: Sequence[CutResult]

    def rows(self, start: int, stop: int) -> dict[str, NDArray[np.uint8]]:
        """Rows ``start`` to ``stop`` (at least one), counted over all parts, of every array."""
        first, last = (int(part) for part in np.searchsorted(self.ends, [start, stop - 1], side="right"))
        base = int(self.ends[first - 1]) if first else 0
        pieces = [_unpack(part) for part in self.parts[first : last + 1]]
        pieces = [piece for piece in pieces if len(piece.get("pixels", ()))]
        names = [name for name in ("pixels", "validity", "lesions") if name in pieces[0]]
        return {name: np.concatenate([piece[name] for piece in pieces])[start - base : stop - base] for name in names}


@dataclass(frozen=True, kw_only=True)
class Cutter:
    """Cuts batches of images into part files in the folder ``parts``."""

    raw: RawFolder
    form: Form
    lesions: tuple[str, ...]
    parts: Path

    def cut(
        self,
        images: Sequence[dict[str, Any]],
        store: Store,
        *,
        title: str,
        workers: int | None,
        scheduler_address: str | None = None,
    ) -> Cuts:
        """Cut the images of manifest rows; parts of an interrupted run are used again.

        On the cluster at ``scheduler_address`` only if the ``store`` is shared through a bucket, which files go by.
        """
        tasks = self._tasks(images)
        batches = [batch for task in tasks for batch in task]
        if scheduler_address is not None and store.shared:
            from pipeline.store.workers import NEEDS, spread  # imports the client of object stores

            work = self.parts.parent
            there = partial(_cut_file, raw=work / NEEDS, form=self.form, lesions=self.lesions, parts=self.parts)
            run = partial(run_tasks, title=title, scheduler_address=scheduler_address)
            sent = self._joined(tasks)
            cut = spread(store, there, [task for task, _ in sent], work, run, [needed for _, needed in sent])
        else:
            cut = run_tasks(self.cut_file, tasks, title=title, workers=workers)
        heads = [head for some in cut for head in some]
        counts = [sum(len(entry["places"]) for entry in head["images"]) for head in heads]
        return Cuts(
            parts=[self.part(batch) for batch in batches],
            ends=np.cumsum(counts, dtype=np.int64),
            results=[CutResult(**entry) for head in heads for entry in head["images"]],
        )

    def _tasks(self, images: Sequence[dict[str, Any]]) -> list[list[Batch]]:
        """Batches of images; those of a file with several slices are one task, which reads it once."""
        tasks: list[list[Batch]] = []
        for file, group in groupby(images, key=lambda image: self._stack(image["path"])):
            run = list(group)
            batches: list[Batch] = [run[at : at + BATCH] for at in range(0, len(run), BATCH)]
            tasks += [batches] if file else [[batch] for batch in batches]
        return tasks

    def _joined(self, tasks: Sequence[list[Batch]]) -> list[tuple[list[Batch], dict[str, Path]]]:
        """Tasks and the files that they need; those that follow one another and need the same archive are one."""
        found: list[tuple[list[Batch], dict[str, Path]]] = []
        for task in tasks:
            needed = self._needed(task)
            before, held = found[-1] if found else ([], {})
            if held.keys().isdisjoint(needed) or sum(map(len, (*before, *task))) > TOGETHER:
                found.append((list(task), needed))
            else:
                before.extend(task)
                held.update(needed)
        return found

    def _needed(self, task: Sequence[Batch]) -> dict[str, Path]:
        """The files on disk that a task reads, by name; of a series all that lie beside it."""
        found = dict[str, Path]()
        for image in (image for batch in task for image in batch):
            for path in (image["path"], *_masks(image).values()):
                found |= self.raw.needed(file_of(self.raw, path)[0], beside=SERIES in image.get("gray_values", ""))
        return found

    def _stack(self, path: str) -> str:
        """File of a slice; empty for an image that has a file for itself."""
        file, _ = file_of(self.raw, path)
        return "" if file == path else file

    def cut_file(self, batches: Sequence[Batch]) -> list[dict[str, Any]]:
        """Cut batches that follow one another into their part files; their heads."""
        missing = [batch for batch in batches if not self.part(batch).is_file()]
        with closing(read_slices(self.raw, [image["path"] for batch in missing for image in batch])) as frames:
            return [self.cut_batch(batch, frames) for batch in batches]

    def part(self, batch: Sequence[dict[str, Any]]) -> Path:
        """Part file of a batch, named by its content."""
        return self.parts / f"{fingerprint([source_key(image) for image in batch])}.part"

    def cut_batch(self, batch: Sequence[dict[str, Any]], frames: Iterator[tuple[Frame, str]]) -> dict[str, Any]:
        """Cut a batch of manifest rows, the next of ``frames``, into its part file unless it exists; its head."""
        path = self.part(batch)
        if path.is_file():
            head: dict[str, Any] = json.loads(_unpack(path)["head"].tobytes())
            return head
        cut: list[SlotTile] = []
        results: list[dict[str, Any]] = []
        for image, (frame, sha256) in zip(batch, frames, strict=False):
            lasting = False
            try:
                masks = self._read_masks(image, frame, sha256)
                lasting = True
                tiles = self.cut_image(frame.usable, masks)
            except UnusableImage as error:
                results.append({"places": [], "reason": str(error), "lasting": lasting})
            else:
                results.append({"places": self._places(tiles)})
                cut += tiles
        head = {"images": results}
        arrays = {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)}
        if cut:
            validity = np.stack([tile.validity for tile in cut]).astype(np.uint8)
            pixels, missing = np.stack([tile.pixels for tile in cut]), (validity == NO_DATA)[:, None]
            arrays |= {"pixels": np.where(missing, np.uint8(self.form.neutral), pixels), "validity": validity}
            if self.lesions:
                arrays["lesions"] = np.stack([tile.lesions for tile in cut]).astype(np.uint8)
        np.savez(buffer := io.BytesIO(), **arrays)  # type: ignore[arg-type]
        write_file(path, bytes(Zstd(level=1).encode(buffer.getvalue())))
        return head

    def cut_image(self, pixels: NDArray[np.uint8], masks: Mapping[str, Mask]) -> tuple[SlotTile, ...]:
        """Tiles of one image in slot order; raises ``UnusableImage``."""
        shape = (pixels.shape[0], pixels.shape[1])
        given = {lesion: mask.marked(shape)[0] for lesion, mask in masks.items() if lesion in self.lesions}
        return self.form.cut(pixels, {lesion: given.get(lesion, np.zeros(shape, bool)) for lesion in self.lesions})

    def _read_masks(self, image: dict[str, Any], frame: Frame, sha256: str) -> dict[str, Mask]:
        """An image's masks; ``DatasetUnusable`` unless it and they have the hashes of the manifest."""
        if not sha256:
            raise UnusableImage(frame.reason)
        masks = {lesion: read_mask(self.raw, path) for lesion, path in _masks(image).items()}
        if (sha256, masks_sha256(masks.values())) != (image["sha256"], image["masks_sha256"]):
            what = f"{image['path']} or a mask of it in {self.raw.root} has changed since the manifest was made"
            raise DatasetUnusable(f"{what}{REMEDY}")
        return masks

    def _places(self, tiles: tuple[SlotTile, ...]) -> list[dict[str, Any]]:
        places = []
        for slot, tile in zip(slots(self.form.canvases), tiles, strict=True):
            row, col = (float(value) for value in tile.offset)
            where = (slot.name, slot.canvas, slot.row, slot.col, tile.transform.to_json(), row, col)
            places.append(dict(zip(PLACE, (*where, float((tile.validity == SCORED).mean())), strict=True)))
        return places


def _cut_file(
    batches: Sequence[Batch], *, raw: Path, form: Form, lesions: tuple[str, ...], parts: Path
) -> list[dict[str, Any]]:
    """``Cutter.cut_file`` for a worker that has the files in the folder ``raw``."""
    return Cutter(raw=RawFolder(raw), form=form, lesions=lesions, parts=parts).cut_file(batches)


def source_key(image: dict[str, Any]) -> str:
    """Hash (64 hex digits) of a manifest row's image (content and gray values), its masks and their lesions."""
    content = [image["sha256"], image["masks_sha256"], list(_masks(image))]
    if SERIES in image.get("gray_values", ""):  # which other files decide on
        content.append(image["gray_values"])
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _masks(image: dict[str, Any]) -> dict[str, str]:
    masks: dict[str, str] = json.loads(image["masks"]) if image["masks"] else {}
    return masks


def _unpack(part: Path) -> dict[str, NDArray[np.uint8]]:
    plain = io.BytesIO(Zstd().decode(part.read_bytes()))
    with _PARSING, np.load(plain, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
