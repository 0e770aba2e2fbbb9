"""Provenance records: what a version was made from, by which code and in which runs.

Different inputs may give the same content, so a version can have several records; the last one counts. A record that
comes again moves to the end and keeps its first runs and dates.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RawInput:
    """The downloads behind a manifest."""

    dataset: str
    root: str  # folder
    fingerprint: str  # of the names and contents of all its files


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a version was made."""

    inputs: dict[str, str]  # asset → data version
    raw: RawInput | None = None  # for a manifest, whose inputs lie outside the store
    code_version: str
    git_commit: str  # with "+changes" if the work tree differed, "unknown" outside a checkout
    dagster_run: str
    mlflow_run: str
    preset: str
    seed: int
    published: str = ""  # when the version's files were written; set by the store
    created: str = ""  # when this record was first written; set by the store

    @property
    def cause(self) -> tuple[Any, ...]:
        """Two records with equal causes are the same one; runs and dates do not count."""
        return self.inputs, self.raw, self.code_version, self.preset, self.seed, self.published


def read_records(path: Path) -> list[Provenance]:
    """The records in a file, the one that counts last; empty if there is no file."""
    rows = json.loads(path.read_text()) if path.is_file() else []
    return [Provenance(**row | {"raw": RawInput(**row["raw"]) if row["raw"] else None}) for row in rows]


def with_record(records: Sequence[Provenance], new: Provenance) -> list[Provenance]:
    """The records with ``new``, or the equal one that they hold, at the end."""
    equal = [record for record in records if record.cause == new.cause]
    return [*(record for record in records if record.cause != new.cause), *(equal or [new])]
