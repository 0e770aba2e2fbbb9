"""What the pipeline stands on, looked at without making anything: one finding each, with its remedy."""

import importlib.metadata
import os
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import requests
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipeline.data.datasets import Dataset
from pipeline.data.download.presence import Presence, look

PACKAGE = "proxyano"
State = Literal["ok", "warn", "problem"]
LITTLE_DISK, NO_DISK = 10e9, 1e9  # bytes: a home holds tiles, proxies and weights of three lanes, in several versions
LITTLE_MEMORY = 3e9  # bytes: the lane of brain MRI with `quick` takes about that much
_TIMEOUT = 3.0  # seconds for what answers over a network


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor's screen; a problem stops a run, a warning does not."""

    name: str
    state: State
    found: str
    remedy: str = ""


def python(package: str = PACKAGE) -> Finding:
    """The interpreter against what the package asks for."""
    wanted = importlib.metadata.metadata(package)["Requires-Python"] or ""
    version = ".".join(str(part) for part in sys.version_info[:3])
    if SpecifierSet(wanted).contains(version, prereleases=True):
        return Finding(name="Python", state="ok", found=f"{version} (wanted {wanted})")
    return Finding(
        name="Python", state="problem", found=f"{version}, wanted {wanted}", remedy="make run PYTHON=python3.12"
    )


def packages(wanted: Sequence[str] | None = None) -> Finding:
    """Installed versions against the ranges of ``pyproject.toml``, as the installed package carries them."""
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
        remedy = "pip install -c constraints.txt -e ."
        return Finding(name="packages", state="problem", found="; ".join(wrong), remedy=remedy)
    return Finding(name="packages", state="ok", found=f"{len(rows)} within their ranges")


def home(path: Path) -> Finding:
    """Whether the home, or the folder it will be made in, can be written to, and how much room is left."""
    name = "PROXYANO_HOME"
    standing = next(each for each in (path, *path.parents) if each.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
        found = f"{path}: {standing} is no folder that can be written to"
        return Finding(name=name, state="problem", found=found, remedy="set PROXYANO_HOME to a folder of yours")
    free = shutil.disk_usage(standing).free
    found = f"{path}, {free / 1e9:.1f} GB free" + ("" if standing == path else ", not made yet")
    if free < LITTLE_DISK:
        remedy = "make room (proxyano clean lists old versions), or set PROXYANO_HOME elsewhere"
        return Finding(name=name, state="problem" if free < NO_DISK else "warn", found=found, remedy=remedy)
    return Finding(name=name, state="ok", found=found)


def raw(dataset: Dataset, folder: Path, cache: Path, *, sample: bool) -> Finding:
    """The images that the layout of a data set finds, by names and sizes alone."""
    name = f"raw {dataset.name}"
    if sample and not folder.exists():
        return Finding(name=name, state="ok", found="the generated sample, drawn by the first run")
    seen = look(dataset, folder, cache=cache, quick=True)
    found = _seen(seen) + (", generated sample" if sample else f" in {folder}")
    advice = f"proxyano download {dataset.name} --check says what is missing"
    if seen.broken:
        advice = f"download {', '.join(seen.broken)} again"
        return Finding(name=name, state="warn" if seen.usable else "problem", found=found, remedy=advice)
    if seen.usable or (seen.closed and not seen.problem):
        return Finding(name=name, state="ok", found=found)
    return Finding(name=name, state="problem", found=seen.problem or found, remedy=advice)


def _seen(seen: Presence) -> str:
    normal = sum(classes.get(seen.dataset.classes[0], 0) for classes in seen.counts.values())
    parts = [f"{normal} normal and {seen.images - normal} abnormal images"]
    parts += [f"{name} lies packed, not counted" for name in seen.closed]
    return "; ".join(parts + [f"{name} is broken" for name in seen.broken])


def hardware(*, wants_gpu: bool) -> Finding:
    """What training will run on."""
    import torch  # takes seconds, and only this finding needs it

    from models.arithmetic import cpu_name, kernels

    memory = psutil.virtual_memory()
    room = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB memory free"
    if torch.cuda.is_available():
        found = f"GPU {torch.cuda.get_device_name()}, {room}"
        return Finding(name="hardware", state="ok", found=found)
    if torch.backends.mps.is_available():
        return Finding(name="hardware", state="ok", found=f"GPU of this Mac (mps), {room}")
    threads = f"{torch.get_num_threads()} threads on {psutil.cpu_count()} cores"
    found = f"CPU {cpu_name()}, {threads}, kernels {kernels()}, {room}"
    if memory.available < LITTLE_MEMORY:
        return Finding(
            name="hardware", state="warn", found=found, remedy="close other programs: a lane takes 2 to 3 GB"
        )
    if wants_gpu:
        remedy = "expect days, or set PROXYANO_PRESET=quick"
        return Finding(name="hardware", state="warn", found=f"{found}; the preset is meant for a GPU", remedy=remedy)
    return Finding(name="hardware", state="ok", found=found)


def tracking(uri: str) -> Finding:
    """Whether MLflow's store answers; a database is opened for reading alone."""
    if uri.startswith("sqlite:///"):
        return _database(Path(uri.removeprefix("sqlite:///")))
    if not uri.startswith(("http://", "https://")):
        return Finding(name="MLflow", state="warn", found=f"{uri} is not looked into", remedy="ask that store itself")
    try:
        with requests.get(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT) as answer:
            found = f"{uri} answers HTTP {answer.status_code}"
            good = answer.ok
    except requests.RequestException as error:
        found, good = f"{uri} does not answer: {type(error).__name__}", False
    remedy = "" if good else "start that server, or unset MLFLOW_TRACKING_URI"
    return Finding(name="MLflow", state="ok" if good else "problem", found=found, remedy=remedy)


def _database(path: Path) -> Finding:
    if not path.exists():
        return Finding(name="MLflow", state="ok", found=f"{path}, made by the first run")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_TIMEOUT)) as database:
            (runs,) = database.execute("SELECT COUNT(*) FROM runs").fetchone()
    except sqlite3.Error as error:
        remedy = "if no run is on, move the file away; results in stores/ do not depend on it"
        return Finding(name="MLflow", state="problem", found=f"{path} cannot be read: {error}", remedy=remedy)
    if not os.access(path, os.W_OK):
        return Finding(name="MLflow", state="problem", found=f"{path} is read-only", remedy=f"chmod u+w '{path}'")
    return Finding(name="MLflow", state="ok", found=f"{path}, {runs} runs")


def cluster(address: str) -> Finding:
    """Whether the dask scheduler answers, and how many workers it has."""
    from distributed import Client

    name, remedy = "dask", "start the scheduler and its workers, or unset DASK_SCHEDULER_ADDRESS"
    try:
        with Client(address, timeout=_TIMEOUT, set_as_default=False) as client:
            workers = len(client.scheduler_info(n_workers=-1)["workers"])
    except (OSError, ValueError) as error:
        return Finding(name=name, state="problem", found=f"{address} does not answer: {error}", remedy=remedy)
    if not workers:
        return Finding(name=name, state="problem", found=f"{address} has no workers", remedy=remedy)
    return Finding(name=name, state="ok", found=f"{address}, {workers} workers")
