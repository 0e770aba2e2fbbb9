"""What scoring writes: a table of images, one of regions, and a picture of each image.

``scores.partial.csv`` and ``regions.partial.csv`` grow file by file, so that a cut run goes on where it stopped; they
get their names when everything is done.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.detectors.folder.stream import Scored
from pipeline.detectors.frozen.detector import Detector
from pipeline.detectors.frozen.heat import Region
from pipeline.errors import ConfigError
from pipeline.store.versions import write_file

COLUMNS = (
    "path",
    "frame",
    "decision",
    "score",
    "false_alarm_rate",
    "false_alarm_rate_high",
    "in_domain",
    "domain_distance",
    "regions",
    "hottest",
    "reason",
    "overlay",
    "sha256",
    "dataset",
    "detector",
    "rate",
)
REGION_COLUMNS = ("path", "frame", "rank", *(field.name for field in fields(Region)))
FORMATS = ("csv", "json", "parquet")
UNUSABLE = "unusable"


class ScoreFolder:
    """Writes the results of one run into a folder; knows which files an earlier, cut run had finished."""

    def __init__(self, folder: Path, detector: Detector, rate: float, *, overlays: bool) -> None:
        self.folder, self.detector, self.rate, self.overlays = folder, detector, rate, overlays
        self.counts: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.done = self._resume()
        self._scores = _Growing(folder / "scores.partial.csv", COLUMNS)
        self._regions = _Growing(folder / "regions.partial.csv", REGION_COLUMNS)

    def __enter__(self) -> "ScoreFolder":
        return self

    def __exit__(self, *raised: object) -> None:
        self._scores.close()
        self._regions.close()

    def add(self, scored: Scored) -> None:
        """Write one frame's result."""
        row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
        row |= {"path": str(scored.path), "frame": scored.number, "sha256": scored.sha256, "rate": self.rate}
        row |= {"dataset": self.detector.dataset, "detector": self.detector.data_version}
        found = scored.finding
        if found is None:
            row |= {"decision": UNUSABLE, "in_domain": False, "reason": scored.reason}
            self._keep(row, [])
            return
        regions = found.regions(self.rate)
        row |= {
            "decision": found.decision(self.rate),
            "score": round(found.score, 5),
            "false_alarm_rate": round(found.false_alarm_rate, 6),
            "false_alarm_rate_high": round(found.false_alarm_rate_high, 6),
            "in_domain": found.in_domain,
            "domain_distance": round(found.distance, 3) if found.distance < float("inf") else "",
            "regions": len(regions),
            "hottest": round(max((float(values.max()) for values in found.maps.values()), default=0.0), 4),
        }
        if self.overlays:
            name = f"overlays/{scored.path.stem}-{scored.sha256[:8]}-{scored.number}.png"
            write_file(self.folder / name, found.overlay(self.rate))
            row["overlay"] = name
        place = {"path": str(scored.path), "frame": scored.number}
        self._keep(row, [place | {"rank": rank} | asdict(one) for rank, one in enumerate(regions, start=1)])

    def _keep(self, row: dict[str, Any], regions: list[dict[str, Any]]) -> None:
        self.counts[row["decision"]] = self.counts.get(row["decision"], 0) + 1
        self._scores.add([row])
        self._regions.add(regions)

    def finish(self, formats: Sequence[str]) -> list[Path]:
        """Give the tables their names, in every format asked for; their paths."""
        self.__exit__()
        made = []
        for name in ("scores", "regions"):
            partial = self.folder / f"{name}.partial.csv"
            table = read_table(partial)
            for kind in formats:
                target = self.folder / f"{name}.{kind}"
                write_file(target, _encoded(table, kind))
                made.append(target)
            partial.unlink()
        return made

    def _resume(self) -> set[tuple[str, str]]:
        """(path, sha256) of the files that a cut run finished; its last file is scored again."""
        partial = self.folder / "scores.partial.csv"
        if not partial.is_file():
            return set()
        table = read_table(partial)
        if table.empty:
            return set()
        other = (table["detector"] != self.detector.data_version) | (table["rate"].astype(float) != self.rate)
        if other.any():
            raise ConfigError(
                f"{partial} was begun with another detector or false-alarm rate "
                f"({table['detector'].iloc[0]} at {table['rate'].iloc[0]}); name another folder or delete that file"
            )
        last = table["path"].iloc[-1]
        kept = table[table["path"] != last]
        _rewrite(partial, kept, COLUMNS)
        regions = self.folder / "regions.partial.csv"
        if regions.is_file():
            places = read_table(regions)
            _rewrite(regions, places[places["path"].isin(kept["path"])], REGION_COLUMNS)
        for decision, count in kept["decision"].value_counts().items():
            self.counts[str(decision)] = int(count)
        return set(zip(kept["path"], kept["sha256"].fillna(""), strict=True))


class _Growing:
    """A CSV file that grows row by row and is flushed each time."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        fresh = not path.is_file() or path.stat().st_size == 0
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, list(columns))
        if fresh:
            self._writer.writeheader()
        self._file.flush()

    def add(self, rows: list[dict[str, Any]]) -> None:
        self._writer.writerows(rows)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_table(path: Path) -> pd.DataFrame:
    """A table that scoring wrote as CSV; a last line that a kill cut short is left out."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    text = dict.fromkeys(("path", "sha256", "detector", "reason", "overlay", "decision"), str)
    return pd.read_csv(io.BytesIO(whole), dtype=text, keep_default_na=False, na_values=[""])


def _rewrite(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    write_file(path, table.reindex(columns=list(columns)).to_csv(index=False).encode())


def _encoded(table: pd.DataFrame, kind: str) -> bytes:
    if kind == "csv":
        return table.to_csv(index=False).encode()
    if kind == "json":
        return (table.to_json(orient="records", indent=1, force_ascii=False) or "[]").encode()
    return bytes(table.to_parquet(index=False))
