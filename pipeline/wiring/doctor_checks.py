"""The checks of ``proxyano doctor``: each looks at one thing without creating anything, and names a remedy."""

import importlib.metadata
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import psutil
import requests
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipeline.store.provenance import unreadable
from pipeline.store.survey import current_assets, survey
from pipeline.store.versions import Store
from pipeline.wiring.moved import strayed
from pipeline.wiring.settings import Settings, without_password

if TYPE_CHECKING:
    from pipeline.data.datasets import Dataset, Presence

PACKAGE = "proxyano"
State = Literal["ok", "warn", "problem"]
LITTLE_DISK, NO_DISK = 10e9, 1e9  # bytes: a home holds tiles, proxies and weights of three lanes, in several versions
LITTLE_MEMORY = 3e9  # bytes: the lane of brain MRI with `quick` takes about that much
STORE_SECONDS = 5.0  # for a look at the store
_TIMEOUT = 3.0  # seconds for services on a network
DAGSTER_FILES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
"""Databases of an instance that has run; opening one without them would create them."""
_OTHER_STORAGE = re.compile(r"^(storage|run_storage|event_log_storage|schedule_storage):", re.MULTILINE)
_POSTGRES = "postgresql+psycopg2://"  # SQLAlchemy 2.1 reads postgresql:// as psycopg 3, which Dagster cannot use
_POOLS = re.compile(r"^ +pools:", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's screen; a problem stops a run, a warning does not."""

    name: str
    state: State
    found: str
    remedy: str = ""


def python(package: str = PACKAGE) -> Finding:
    """The interpreter's version against the package's requirement."""
    wanted = importlib.metadata.metadata(package)["Requires-Python"] or ""
    version = ".".join(str(part) for part in sys.version_info[:3])
    if SpecifierSet(wanted).contains(version, prereleases=True):
        return Finding("Python", "ok", f"{version} (wanted {wanted})")
    return Finding("Python", "problem", f"{version}, wanted {wanted}", "make run PYTHON=python3.12")


def packages(wanted: Sequence[str] | None = None) -> Finding:
    """Installed versions against the ranges of ``pyproject.toml``."""
    rows = [Requirement(line) for line in (importlib.metadata.requires(PACKAGE) or [] if wanted is None else wanted)]
    rows = [row for row in rows if row.marker is None or row.marker.evaluate({"extra": ""})]
    wrong = []
    for row in rows:
        try:
            version = importlib.metadata.version(row.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{row.name} is missing")
            continue
        if not row.specifier.contains(version, prereleases=True):
            wrong.append(f"{row.name} {version}, wanted {row.specifier}")
    if wrong:
        return Finding("packages", "problem", "; ".join(wrong), "pip install -c constraints.txt -e .")
    return Finding("packages", "ok", f"{len(rows)} within their ranges")


def home(path: Path) -> Finding:
    """Whether the home, or the folder it will be created in, is writable, and the free disk space."""
    name = "PROXYANO_HOME"
    existing = next(each for each in (path, *path.parents) if each.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        found = f"{path}: {existing} is not a writable folder"
        return Finding(name, "problem", found, "set PROXYANO_HOME to a folder of yours")
    free = shutil.disk_usage(existing).free
    found = f"{path}, {free / 1e9:.1f} GB free" + ("" if existing == path else ", not made yet")
    if free < LITTLE_DISK:
        remedy = "make room (proxyano clean lists old versions), or set PROXYANO_HOME elsewhere"
        return Finding(name, "problem" if free < NO_DISK else "warn", found, remedy)
    return Finding(name, "ok", found)


def raw(dataset: "Dataset", folder: Path, cache: Path, *, sample: bool) -> Finding:
    """The images that the layout of a data set finds, by file names and sizes alone."""
    name = f"raw {dataset.name}"
    if sample and not folder.exists():
        return Finding(name, "ok", "the generated sample, drawn by the first run")
    from pipeline.data.datasets import look  # takes a second

    seen = look(dataset, folder, cache=cache, quick=True)
    found = _counted(seen) + (", generated sample" if sample else f" in {folder}")
    if seen.broken:
        return Finding(name, "warn" if seen.usable else "problem", found, f"download {', '.join(seen.broken)} again")
    if seen.usable or (seen.closed and not seen.problem):
        return Finding(name, "ok", found)
    remedy = f"proxyano download {dataset.name} --check says what is missing"
    return Finding(name, "problem", seen.problem or found, remedy)


def _counted(seen: "Presence") -> str:
    normal = sum(classes.get(seen.dataset.classes[0], 0) for classes in seen.counts.values())
    parts = [f"{normal} normal and {seen.images - normal} abnormal images"]
    parts += [f"{name} lies packed, not counted" for name in seen.closed]
    return "; ".join(parts + [f"{name} is broken" for name in seen.broken])


def hardware(*, wants_gpu: bool) -> Finding:
    """The device that training will use."""
    import torch  # takes seconds, and only this check needs it

    from models.arithmetic import cpu_name, kernels

    memory = psutil.virtual_memory()
    room = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB memory free"
    if torch.cuda.is_available():
        return Finding("hardware", "ok", f"GPU {torch.cuda.get_device_name()}, {room}")
    if torch.backends.mps.is_available():
        return Finding("hardware", "ok", f"GPU of this Mac (mps), {room}")
    threads = f"{torch.get_num_threads()} threads on {psutil.cpu_count()} cores"
    found = f"CPU {cpu_name()}, {threads}, kernels {kernels()}, {room}"
    if memory.available < LITTLE_MEMORY:
        return Finding("hardware", "warn", found, "close other programs: a lane takes 2 to 3 GB")
    if wants_gpu:
        remedy = "expect days, or set PROXYANO_PRESET=quick"
        return Finding("hardware", "warn", f"{found}; the preset is meant for a GPU", remedy)
    return Finding("hardware", "ok", found)


def dagster(folder: Path) -> Finding:
    """Whether the instance of ``DAGSTER_HOME`` opens, and its number of runs."""
    import dagster as dg  # takes a second
    from sqlalchemy.exc import SQLAlchemyError

    name = "Dagster"
    if not folder.is_absolute():
        return Finding(name, "problem", f"DAGSTER_HOME is {folder}", "set DAGSTER_HOME to an absolute path")
    settings = folder / "dagster.yaml"
    text = settings.read_text() if settings.is_file() else ""
    database = Settings().database or ""
    if "PROXYANO_DATABASE" in text or (database and not text):
        return _server(name, database, "PROXYANO_DATABASE")
    if database:
        return Finding(name, "problem", f"{settings} does not use PROXYANO_DATABASE", f"rm '{settings}': it is renewed")
    if _OTHER_STORAGE.search(text):
        return Finding(name, "warn", f"{folder}, with another storage, not checked", "dagster instance info")
    if not all((folder / file).is_file() for file in DAGSTER_FILES):
        return Finding(name, "ok", f"{folder}, made by the first run")
    try:
        for file in DAGSTER_FILES:
            with _opened(folder / file, "rw"):  # for one that only reads, SQLite would leave files of its log
                pass
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            runs = instance.get_runs_count()
    except (dg.DagsterError, SQLAlchemyError, sqlite3.Error, OSError) as error:
        remedy = "dagster instance migrate; if that fails, move the folder away: versions in stores/ stay"
        return Finding(name, "problem", f"{folder} does not open: {str(error).splitlines()[0]}", remedy)
    if not _POOLS.search(text):
        found = f"{folder}, {runs} runs; its dagster.yaml has no pools: runs of one asset do not wait in the queue"
        return Finding(name, "warn", found, f"copy pipeline/wiring/dagster.yaml to {folder}")
    return Finding(name, "ok", f"{folder}, {runs} runs")


def tracking(uri: str, artifacts: Path | None = None) -> Finding:
    """Whether MLflow's store answers, and whether its artifacts are in the home; a database is opened read-only."""
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///"))
        checked = _database(path)
        if checked.state == "ok" and artifacts is not None and (places := strayed(path, artifacts)):
            told = f"{path}: the home was moved; MLflow looks in {', '.join(places)}"
            return Finding("MLflow", "warn", told, "nothing to do: the next run corrects the paths")
        return checked
    if uri.startswith("postgres"):
        return _server("MLflow", uri, "MLFLOW_TRACKING_URI")
    shown = without_password(uri)
    if not uri.startswith(("http://", "https://")):
        return Finding("MLflow", "warn", f"{shown} is not checked", "check that store itself")
    remedy = "start that server, or unset MLFLOW_TRACKING_URI"
    try:
        with requests.get(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT) as answer:
            found = f"{shown} answers HTTP {answer.status_code}"
            return Finding("MLflow", "ok", found) if answer.ok else Finding("MLflow", "problem", found, remedy)
    except requests.RequestException as error:
        return Finding("MLflow", "problem", f"{shown} does not answer: {type(error).__name__}", remedy)


def _server(name: str, address: str, variable: str) -> Finding:
    """Whether a PostgreSQL server answers, and its number of runs; nothing shows the password."""
    from sqlalchemy import NullPool, create_engine, inspect, text
    from sqlalchemy.exc import SQLAlchemyError

    shown = without_password(address) or "empty"
    if not address.startswith(_POSTGRES):
        return Finding(name, "problem", f"{variable} is {shown}", f"write {_POSTGRES}user:password@host/name")
    try:
        engine = create_engine(address, poolclass=NullPool, connect_args={"connect_timeout": int(_TIMEOUT)})
        with engine.connect() as found:
            made = inspect(found).has_table("runs")
            runs = f"{found.scalar(text('SELECT COUNT(*) FROM runs'))} runs" if made else "made by the first run"
    except ImportError as error:
        return Finding(name, "problem", f"{shown}: {error}", "pip install 'proxyano[postgres]'")
    except SQLAlchemyError as error:
        why = str(error).splitlines()[0]
        return Finding(name, "problem", f"{shown} does not answer: {why}", f"start that server, or unset {variable}")
    return Finding(name, "ok", f"{shown}, {runs}")


def _database(path: Path) -> Finding:
    if not path.is_file():
        return Finding("MLflow", "ok", f"{path}, made by the first run")
    try:
        with _opened(path) as database:
            (runs,) = database.execute("SELECT COUNT(*) FROM runs").fetchone()
    except sqlite3.Error as error:
        remedy = "if no run is active, move the file away; results in stores/ do not depend on it"
        return Finding("MLflow", "problem", f"{path} cannot be read: {error}", remedy)
    if not os.access(path, os.W_OK):
        return Finding("MLflow", "problem", f"{path} is read-only", f"chmod u+w '{path}'")
    return Finding("MLflow", "ok", f"{path}, {runs} runs")


@contextmanager
def _opened(path: Path, mode: str = "ro") -> Iterator[sqlite3.Connection]:
    """A database; ``sqlite3.Error`` if it is damaged."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_TIMEOUT)) as database:
        (state,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(f"{path.name}: {state}")
        yield database


def stores(store: Store) -> Finding:
    """The files of current versions against their markers for some seconds, and the records beside them."""
    broken = [*unreadable(store.root).values()]
    seen = survey(store, current_assets(store), seconds=STORE_SECONDS, rng=np.random.default_rng())
    broken += seen.damaged.values()
    found = f"{seen.versions} current versions, {seen.compared / 1e6:.0f} of {seen.size / 1e6:.0f} MB compared"
    if broken:
        found += f"; {len(broken)} damaged: {'; '.join(broken[:3])}"
        return Finding("store", "problem", found, "proxyano refresh")
    return Finding("store", "ok", found if seen.versions else f"{store.root}, no version yet")
