"""Bookkeeping beside the versions: small JSON files, which are checked as they are read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from pipeline.errors import REMEDY, StoreCorrupt
from pipeline.store.files import write_file


@dataclass(frozen=True, kw_only=True)
class RawInput:
    """The downloads behind a manifest."""

    dataset: str
    root: str  # folder
    fingerprint: str  # of the names and contents of all its files


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a version was made; of several records, by which different inputs gave it, the last one counts."""

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


@dataclass(frozen=True)
class Pointer:
    """The version that a file names."""

    data_version: Annotated[str, Field(pattern="^[0-9a-f]{16,64}$")]


RECORDS: Mapping[str, TypeAdapter[Any]] = {
    "current": TypeAdapter(Pointer),
    "built": TypeAdapter(Pointer),
    "notes": TypeAdapter(dict[str, Any]),
    "origins": TypeAdapter(list[Provenance]),
}
"""Folder of the store → what each of its files holds."""


def read_record(path: Path, kind: str) -> Any:
    """Content of a file of bookkeeping, or None if there is none; ``StoreCorrupt`` if it is empty, cut or another."""
    if not path.is_file():
        return None
    try:
        return RECORDS[kind].validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        got = f"{path.stat().st_size} bytes: {first['msg']}"
        raise StoreCorrupt(f"{path} is damaged: expected a record of {kind}, got {got}{REMEDY}") from error


def write_record(path: Path, content: dict[str, Any] | list[Any]) -> None:
    """Write a file of bookkeeping atomically."""
    write_file(path, json.dumps(content, indent=1).encode())


def unreadable(root: Path) -> dict[Path, str]:
    """Damaged files of bookkeeping in a store, with the reason."""
    found = {}
    for kind in RECORDS:
        for path in sorted((root / kind).rglob("*.json")):
            try:
                read_record(path, kind)
            except StoreCorrupt as error:
                found[path] = str(error).removesuffix(REMEDY)
    return found
