"""Slices: images that share a file. A manifest names one by its file and its number in it, such as ``a.nii#0012``."""

import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import groupby
from pathlib import Path

from pipeline.data.decode import Frame, read_frames
from pipeline.data.raw import RawFolder
from pipeline.data.read.folder import sha256
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
        try:
            digest = sha256(source, folder)
        except OSError as error:
            raise UnusableImage(f"cannot be read: {error.strerror}") from error
        source.seek(0)
        with closing(read_frames(path, source, folder)) as frames:
            yield digest, frames


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
