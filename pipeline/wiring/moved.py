"""A home that was moved or renamed: MLflow's database holds absolute places of artifacts, which follow it."""

import sqlite3
from contextlib import closing
from pathlib import Path

PLACES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""Table of MLflow's database → columns that hold places of artifacts."""


def strayed(database: Path, artifacts: Path) -> list[str]:
    """Places of experiments, as URIs, that this product made below another folder of artifacts than ``artifacts``.

    Only for a database beside that folder: one that several homes share lies elsewhere and keeps its places. Raises
    ``sqlite3.Error`` where the database cannot be read.
    """
    if database.absolute().parent != artifacts.absolute().parent or not database.is_file():
        return []
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as opened:
        rows = opened.execute("SELECT name, artifact_location FROM experiments").fetchall()
    here, end = artifacts.absolute().as_uri(), f"/{artifacts.name}"
    bases = {str(place).removesuffix(f"/{Path(name).name}") for name, place in rows if str(place).startswith("file:")}
    return sorted(base for base in bases if base.endswith(end) and base != here)


def follow(database: Path, artifacts: Path) -> None:
    """Rewrite the artifact paths of a moved home; leave other paths alone."""
    for old in strayed(database, artifacts):
        new = artifacts.absolute().as_uri()
        with closing(sqlite3.connect(database)) as opened, opened:
            tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table, columns in PLACES.items():
                for column in columns if table in tables else ():
                    change = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"
                    opened.execute(change, (new, len(old) + 1, len(old) + 1, f"{old}/"))
