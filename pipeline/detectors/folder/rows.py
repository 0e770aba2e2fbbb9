"""What one scored frame adds to the results of a folder: its row, a row a region, and its overlay."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.data.walk import shown
from pipeline.detectors.folder.stream import ScoredFrame
from pipeline.detectors.frozen.heat import Region
from pipeline.errors import EmptyFrame

COLUMNS = {
    "scores": [
        "path",
        "frame",
        "volume",
        "slices",
        "worst_slices",
        "decision",
        "score",
        "false_alarm_rate",
        "false_alarm_rate_high",
        "in_domain",
        "domain_distance",
        "regions",
        "hottest",
        "looked_at",
        "reason",
        "gray_values",
        "overlay",
        "sha256",
        "dataset",
        "method",
        "detector",
        "rate",
    ],
    "regions": ["path", "frame", "rank", *(field.name for field in fields(Region))],
}
"""Table → its columns; those of volumes are left out where there are none."""
OVERLAY = re.compile(r"-[0-9a-f]{8}-\d+\.png$")  # end of an overlay's name
LONGEST = 180  # bytes of an overlay's stem; file systems take 255 for a whole name, temporary parts included


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Lines of the tables, as CSV, the overlay, and what to tell on the terminal."""

    scores: str
    regions: str = ""
    overlay: str = ""  # its name below the folder; empty: there is none
    picture: bytes = b""  # PNG of the overlay
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class FrameRows:
    """Makes the rows of frames that one detector has scored."""

    dataset: str
    method: str
    detector: str  # data version
    rate: float
    overlays: bool

    def of(self, frame: ScoredFrame) -> Rows:
        """Rows of a frame."""
        path, image = shown(str(frame.path)), frame.image
        row: dict[str, Any] = {"path": path, "frame": frame.number, "volume": shown(frame.series) or path}
        row |= {"sha256": frame.sha256, "rate": self.rate, "gray_values": frame.gray_values}
        row |= {"dataset": self.dataset, "method": self.method, "detector": self.detector}
        first = frame.number == 0 and "volume 1 of" in frame.gray_values
        told = (shown(f"{path}: {frame.gray_values}"),) if first else ()
        if image is None:
            row |= {"decision": frame.kind, "in_domain": False, "reason": shown(frame.reason)}
            why = () if frame.kind == EmptyFrame.kind else (shown(f"{path}: {frame.reason}"),)
            return Rows(scores=_lines("scores", [row]), told=(*told, *why))
        regions, picture = image.regions(self.rate), image.overlay(self.rate) if self.overlays else b""
        row |= {
            "decision": image.decision(self.rate),
            "score": round(image.score, 7),
            "false_alarm_rate": round(image.false_alarm_rate, 6),
            "false_alarm_rate_high": round(image.false_alarm_rate_high, 6),
            "in_domain": image.in_domain,
            "domain_distance": round(image.distance, 3) if image.distance < float("inf") else "",
            "regions": len(regions),
            "hottest": round(max((float(values.max()) for values in image.maps.values()), default=0.0), 4),
            "looked_at": round(image.looked_at, 3),
        }
        name = f"overlays/{_short(frame.path.stem)}-{frame.sha256[:8]}-{frame.number}.png" if self.overlays else ""
        place = {"path": path, "frame": frame.number}
        below = [place | {"rank": rank} | asdict(one) for rank, one in enumerate(regions, start=1)]
        return Rows(
            scores=_lines("scores", [row | ({"overlay": name} if name else {})]),
            regions=_lines("regions", below),
            overlay=name,
            picture=picture,
            told=told,
        )


def _lines(table: str, rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS[table], lineterminator="\n").writerows(rows)
    return text.getvalue()


def _short(stem: str) -> str:
    """A stem that every file system takes: printable, without separators, shortened by bytes."""
    return re.sub(r'[\\/:*?"<>|]', "_", shown(stem)).encode()[:LONGEST].decode(errors="ignore")
