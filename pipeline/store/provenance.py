"""Where versions come from: for each version a list of origins, the one that counts now last.

Different inputs may give the same content, so one version can have several origins; an origin that comes again is
moved to the end and keeps what it said the first time (its runs and its date).
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RawOrigin:
    """The downloads behind a manifest."""

    dataset: str
    root: str  # folder
    fingerprint: str  # of all names and contents in it


@dataclass(frozen=True, kw_only=True)
class OriginRecord:
    """One way in which a version was made."""

    inputs: dict[str, str]  # asset → data version
    raw: RawOrigin | None = None  # for a manifest, whose inputs lie outside the store
    code_version: str
    git_commit: str  # with "+changes" where the work tree differed, "unknown" outside a checkout
    dagster_run: str
    mlflow_run: str
    preset: str
    seed: int
    published: str = ""  # when the version's files were written; set by the store
    created: str = ""  # when this origin was first recorded; set by the store

    @property
    def cause(self) -> tuple[Any, ...]:
        """What makes two origins the same one; who ran it and when is no part of it."""
        return self.inputs, self.raw, self.code_version, self.preset, self.seed, self.published


@dataclass(frozen=True)
class Origins:
    """The origins of one version, in a file of their own."""

    path: Path
    entries: tuple[OriginRecord, ...] = field(default=())

    @classmethod
    def read(cls, path: Path) -> "Origins":
        """What is recorded at ``path``; nothing where there is no file."""
        rows = json.loads(path.read_text()) if path.is_file() else []
        return cls(path, tuple(_record(row) for row in rows))

    def joined(self, new: OriginRecord) -> "Origins":
        """The same list with ``new``, or the equal one that is there already, at its end."""
        equal = [entry for entry in self.entries if entry.cause == new.cause]
        others = [entry for entry in self.entries if entry.cause != new.cause]
        return Origins(self.path, (*others, (equal or [new])[0]))

    @property
    def newest(self) -> OriginRecord | None:
        """The origin that counts, None where none was recorded."""
        return self.entries[-1] if self.entries else None

    def as_bytes(self) -> bytes:
        """Content of the file."""
        return json.dumps([asdict(entry) for entry in self.entries], indent=1).encode()


def _record(row: dict[str, Any]) -> OriginRecord:
    raw = row.pop("raw")
    return OriginRecord(**row, raw=RawOrigin(**raw) if raw else None)
