"""Black and white of DICOM without a window: one rule for all slices of a series, whose files are read once for it."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from pipeline.data.read.dicom_gray import Span, imaged, needs_span, span_of
from pipeline.data.read.dicom_stored import Stored, is_dicom, stored
from pipeline.data.read.folder import Folder
from pipeline.data.read.gray import PERCENTILES, SAMPLE, black_and_white

SERIES = "the series"  # in what was done to gray values, where other files decided on it
HEAD = 132  # bytes that tell DICOM

_ONCE = threading.RLock()  # several threads read slices of a series: one of them reads it for all


def span_of_file(file: Stored) -> Span:
    """Lowest and highest value of a picture; percentiles of several frames."""
    if file.count > 1:
        return _spread(list(_sampled(file, SAMPLE // file.count)), "its frames")
    return span_of(*next(file.frames()))


def span_of_series(folder: Folder, series: str) -> Span | None:
    """Percentiles over all files of a series in a folder that have no window; None for a file alone."""
    if not series:
        return None
    with _ONCE:
        return _span(folder, series)


@lru_cache(maxsize=64)
def _span(folder: Folder, series: str) -> Span | None:
    names, values = _files(folder).get(series, []), list[NDArray[Any]]()
    for name in names if len(names) > 1 else ():
        with suppress(Exception), folder.opened(name) as source:  # its reason is given where it is read itself
            values += _sampled(stored(source), SAMPLE // len(names))
    return _spread(values, SERIES) if values else None


@lru_cache(maxsize=8)
def _files(folder: Folder) -> dict[str, list[str]]:
    """Series → names of its files in a folder that have no window."""
    found: dict[str, list[str]] = {}
    for name in folder.names():
        with suppress(Exception), folder.opened(name) as source:  # as above
            if is_dicom(source.read(HEAD)) and needs_span((file := stored(source)).first):
                found.setdefault(str(file.header.get("SeriesInstanceUID") or ""), []).append(name)
    return found


def _spread(values: list[NDArray[Any]], whole: str) -> Span:
    low, high = black_and_white(values)
    return low, high, f"{PERCENTILES} of {whole}, {low:g} to {high:g}"


def _sampled(file: Stored, most: int) -> Iterator[NDArray[Any]]:
    """About ``most`` values of every frame."""
    for raw, head in file.frames():
        step = max(1, raw.size // max(1, most))
        yield from (values[::step] for values in imaged(raw, head))
