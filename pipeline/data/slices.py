"""Slices: images, or masks, that share a file. A manifest names one by file and number, such as ``a.nii#0012``."""

import hashlib
import io
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.data.decode import Frame, decode_marks, read_frames
from pipeline.data.raw import RawFolder
from pipeline.data.read.folder import Folder, sha256
from pipeline.data.read.masks import Marks, check_alike, laid_together
from pipeline.errors import UnusableImage


def slice_path(file: str, number: int) -> str:
    """Path of a slice in a manifest."""
    return f"{file}#{number:04d}"


def file_of(raw: RawFolder, path: str) -> tuple[str, int]:
    """The listed file of a manifest's path, and the image's number in it; a file may itself be named like a slice."""
    file, _, number = path.rpartition("#")
    sliced = path not in raw.sizes and file in raw.sizes and number.isdecimal()
    return (file, int(number)) if sliced else (path, 0)


def slice_sha256(digest: str, number: int) -> str:
    """Hash that stands for the content of a slice, by that of its file."""
    return hashlib.sha256(f"{digest}#{number}".encode()).hexdigest()


@contextmanager
def opened(raw: RawFolder, file: str) -> Iterator[tuple[str, Iterator[Frame]]]:
    """Content hash and frames of a listed file; ``UnusableImage`` if it cannot be read at all."""
    source, path, folder = raw.stream(file)
    with source:
        digest = _sha256(source, folder)
        with closing(read_frames(path, source, folder)) as frames:
            yield digest, frames


def _sha256(source: BinaryIO, folder: Folder) -> str:
    try:
        digest = sha256(source, folder)
    except OSError as error:
        raise UnusableImage(f"cannot be read: {error.strerror}") from error
    source.seek(0)
    return digest


def read_slices(raw: RawFolder, paths: Sequence[str]) -> Generator[tuple[Frame, str], None, None]:
    """Frame and content hash of every path of a manifest, in order; the hash is empty if there is no file to read.

    A file whose slices follow one another is read once, and one slice at a time is in memory.
    """
    for file, group in groupby(paths, key=lambda path: file_of(raw, path)[0]):
        wanted = list(group)
        try:
            with opened(raw, file) as (digest, frames):
                for path in wanted:
                    number = file_of(raw, path)[1]
                    missing = Frame(Path(file), number, None, f"the file has no slice {number} any more")
                    frame = next((frame for frame in frames if frame.number == number), missing)
                    yield frame, digest if path == file else slice_sha256(digest, number)
        except UnusableImage as error:
            yield from ((Frame(Path(file), file_of(raw, path)[1], None, str(error)), "") for path in wanted)


@dataclass(frozen=True)
class Mask:
    """A mask of a manifest; ``marked`` takes the shape (H, W) of its image and gives marked pixels and their rule.

    It raises ``UnusableImage`` for masks of another shape and for those that cannot be used.
    """

    sha256: str
    marked: Callable[[tuple[int, int]], tuple[NDArray[np.bool_], str]]


def read_mask(raw: RawFolder, path: str) -> Mask:
    """A mask by its path in a manifest; ``UnusableImage`` if there is no file to read."""
    file, number = file_of(raw, path)
    if path != file:
        digest, held = _held(raw, file)
        one = held._replace(slices=held.slices[number : number + 1])
        return Mask(slice_sha256(digest, number), lambda shape: (laid_together(one, shape), one.rule))
    source, name, folder = raw.stream(file)
    with source:
        digest, content = _sha256(source, folder), io.BytesIO(source.read())

    def marked(shape: tuple[int, int]) -> tuple[NDArray[np.bool_], str]:
        found = decode_marks(content, name, folder)
        return laid_together(found, shape), found.rule

    return Mask(digest, marked)


def check_mask(raw: RawFolder, file: str, place: tuple[float, ...], count: int) -> None:
    """Raise ``UnusableImage`` unless a mask file can be used for the ``count`` slices of a volume at ``place``."""
    check_alike(_held(raw, file)[1], place, count)


def masks_sha256(masks: Iterable[Mask]) -> str:
    """Hash of the contents of an image's masks, in their order; empty without any."""
    digests = b"".join(bytes.fromhex(mask.sha256) for mask in masks)
    return hashlib.sha256(digests).hexdigest() if digests else ""


@lru_cache(maxsize=2)
def _held(raw: RawFolder, file: str) -> tuple[str, Marks]:
    """Content hash and slices of a mask file, kept as its slices are asked for one after another."""
    source, name, folder = raw.stream(file)
    with source:
        return _sha256(source, folder), decode_marks(source, name, folder)
