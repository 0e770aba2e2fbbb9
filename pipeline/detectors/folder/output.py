"""Results of scoring a folder: a table of images and volumes, a table of regions, and an overlay of each image.

``scores.partial.csv`` and ``regions.partial.csv`` grow file by file, so that an interrupted run can be resumed. They
get their final names at the end.
"""

import io
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.data.members import File
from pipeline.data.walk import shown
from pipeline.detectors.folder.rows import COLUMNS, OVERLAY, FrameRows, Rows
from pipeline.detectors.folder.stream import BATCH_BYTES, ScoredFrame, file_sha256
from pipeline.detectors.folder.volume_rows import volume_rows
from pipeline.detectors.frozen.detector import Detector
from pipeline.errors import ConfigError
from pipeline.store.files import write_file

OF_VOLUMES = ["volume", "slices", "worst_slices"]
"""Columns that are left out where there are no volumes."""
FORMATS = ("csv", "json", "parquet")
AHEAD = 16  # results that may wait to be drawn
_FORMULA = re.compile(r"^[=+\-@\t\r]")  # starts of a cell that spreadsheets run


class ScoreFolder:
    """Write the results of one run into a folder; results of an interrupted run are kept if they are still valid.

    ``left`` lists the files that remain to be scored: those without a result, the last one of the interrupted run, and
    those whose content has changed since. ``ConfigError`` if that run used another detector or false-alarm rate.
    """

    def __init__(self, folder: Path, detector: Detector, rate: float, files: Sequence[File], *, overlays: bool) -> None:
        self.folder, self.detector, self.rate, self.overlays = folder, detector, rate, overlays
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            got = "a file" if folder.is_file() else error.strerror
            raise ConfigError(f"--out {folder}: expected a folder, or a place for a new one, got {got}") from error
        self._partial = {name: folder / f"{name}.partial.csv" for name in COLUMNS}
        tables = {name: _read_partial(path, COLUMNS[name]) for name, path in self._partial.items()}
        done = self._done(tables["scores"])
        self.left = [
            file for file in files if (name := shown(str(file))) not in done or done[name] != file_sha256(file)
        ]
        kept = done.keys() - {shown(str(file)) for file in self.left}
        for name, table in tables.items():
            write_file(self._partial[name], table[table["path"].isin(kept)].to_csv(index=False).encode())

    def _done(self, scores: pd.DataFrame) -> dict[str, str]:
        """Path → sha256 of the files that an interrupted run finished."""
        if scores.empty:
            return {}
        other = (scores["detector"] != self.detector.data_version) | (scores["method"] != self.detector.name)
        if (other | (scores["rate"].astype(float) != self.rate)).any():
            begun = f"{scores['method'].iloc[0]} of {scores['detector'].iloc[0]} at {scores['rate'].iloc[0]}"
            raise ConfigError(
                f"{self._partial['scores']} was begun with another detector, method or false-alarm rate ({begun}); "
                "name another folder or delete that file"
            )
        done = dict(zip(scores["path"], scores["sha256"].fillna(""), strict=True))
        del done[scores["path"].iloc[-1]]  # some of its frames may be missing
        return done

    @property
    def rows(self) -> FrameRows:
        """Makes the rows of a frame."""
        about = self.detector.dataset, self.detector.name, self.detector.data_version
        return FrameRows(*about, rate=self.rate, overlays=self.overlays)

    def add_all(self, frames: Iterable[ScoredFrame]) -> Iterator[Rows]:
        """Write the results in order and give them back; a thread draws them while the next ones are scored."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            waiting = deque[tuple[ScoredFrame, Future[Rows]]]()
            for frame in frames:
                waiting.append((frame, pool.submit(self.rows.of, frame)))
                while len(waiting) > AHEAD or sum(map(_bytes, waiting)) > BATCH_BYTES:
                    yield self.write(waiting.popleft()[1].result())
            while waiting:
                yield self.write(waiting.popleft()[1].result())

    def add(self, frame: ScoredFrame) -> None:
        """Write one frame's result."""
        self.write(self.rows.of(frame))

    def write(self, rows: Rows) -> Rows:
        """Write the overlay and the rows of a frame."""
        if rows.overlay:  # is drawn again if the machine loses it
            write_file(self.folder / rows.overlay, rows.picture, durable=False)
        for name, text in (("scores", rows.scores), ("regions", rows.regions)):
            if text:
                with self._partial[name].open("a", newline="", encoding="utf-8") as file:
                    file.write(text)
        return rows

    def finish(self, formats: Sequence[str]) -> tuple[list[Path], dict[str, int]]:
        """Write the tables in every format under their final names; their paths, and the number of each decision.

        Rows of volumes follow those of their slices; their decisions are counted in ``volumes``. ``images`` keeps the
        rows of images. Tables and overlays of an earlier run in this folder are removed.
        """
        made, counts = [], dict[str, int]()
        for name, kind in product(COLUMNS, FORMATS):
            (self.folder / f"{name}.{kind}").unlink(missing_ok=True)
        for name, partial in self._partial.items():
            table = read_table(partial)
            if name == "scores":
                self.images, counts = table, _counted(table)
                names = table["path"].map(lambda path: path.rpartition("/")[2]) + "#" + table["frame"].astype(str)
                volumes = volume_rows(table.assign(name=names), self.detector, self.rate)
                self.volumes = _counted(volumes)
                table = table.drop(columns=OF_VOLUMES) if volumes.empty else _with_volumes(table, volumes)
            for kind in formats:
                made.append(self.folder / f"{name}.{kind}")
                write_file(made[-1], _encoded(table, kind))
            partial.unlink()
        drawn = set(self.images["overlay"].dropna())
        for path in (self.folder / "overlays").glob("*.png"):
            if OVERLAY.search(path.name) and f"overlays/{path.name}" not in drawn:
                path.unlink()
        return made, counts


def _bytes(waiting: tuple[ScoredFrame, "Future[Rows]"]) -> int:
    image = waiting[0].image
    return 0 if image is None else image.pixels.nbytes


def _counted(table: pd.DataFrame) -> dict[str, int]:
    return {str(decision): int(count) for decision, count in table["decision"].value_counts().items()}


def _with_volumes(slices: pd.DataFrame, volumes: pd.DataFrame) -> pd.DataFrame:
    """Each volume's row, which has no number of a frame, behind its last slice; images alone name no volume."""
    alone = ~slices["volume"].isin(volumes["volume"])
    slices = slices.assign(volume=slices["volume"].mask(alone, ""), frame=slices["frame"].astype("Int64"))
    place = slices.reset_index().groupby("volume")["index"].max()
    both = pd.concat([slices, volumes.reindex(columns=slices.columns)])
    order = [*range(len(slices)), *(place[volumes["volume"]] + 0.5)]
    return both.iloc[np.argsort(order, kind="stable")].astype({"slices": "Int64"}).reset_index(drop=True)


def _read_partial(path: Path, columns: list[str]) -> pd.DataFrame:
    """Rows of an interrupted run; none without one."""
    return read_table(path).reindex(columns=columns) if path.is_file() else pd.DataFrame(columns=columns, dtype=str)


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV table of this module; a last line without an end is dropped, for the run was interrupted there."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    named = ("path", "volume", "worst_slices", "sha256", "method", "detector", "reason", "gray_values", "overlay")
    text = dict.fromkeys((*named, "decision"), str)
    return pd.read_csv(io.BytesIO(whole), dtype=text, keep_default_na=False, na_values=[""])


def _encoded(table: pd.DataFrame, kind: str) -> bytes:
    if kind == "csv":
        safe = table.map(lambda value: f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value)
        if "regions" in safe:  # rows without an image have none, and pandas writes 6.0 then
            safe["regions"] = pd.to_numeric(safe["regions"]).astype("Int64")
        return safe.to_csv(index=False).encode()
    if kind == "json":
        return (table.to_json(orient="records", indent=1, force_ascii=False) or "[]").encode()
    return bytes(table.to_parquet(index=False))
