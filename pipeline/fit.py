"""A detector of a folder of normal images in one call, from Python: what the commands do, with their provenance."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipeline.errors import ConfigError, ProxyAnoError
from pipeline.wiring.settings import Settings

if TYPE_CHECKING:
    from pipeline.detectors.frozen.detector import Detector


def fit_detector(
    name: str, *, normal: str | Path, abnormal: str | Path | None = None, device: str = "auto"
) -> "Detector":
    """The detector of a data set of normal images; trains it unless it is up to date.

    ``name`` is the data set's and the lane's, ``normal`` and ``abnormal`` are folders; abnormal images are for a later
    evaluation alone. Progress goes to standard output. A killed call resumes. Every option: ``proxyano dataset add``.
    Raises ``ConfigError`` where the name stands for other folders, ``ProxyAnoError`` where a command fails.
    """
    from pipeline import load_detector

    file, folder = Settings().datasets / f"{name}.yaml", Path(normal).resolve()
    if file.is_file():
        known = yaml.safe_load(file.read_text())
        for kind, asked in (("normal", folder), ("abnormal", Path(abnormal).resolve() if abnormal else None)):
            folders = known.get(kind, [])
            folders = list(folders.values()) if isinstance(folders, dict) else folders
            if asked is not None and [str(asked)] != ([folders] if isinstance(folders, str) else folders):
                raise ConfigError(f"{name} has the {kind} images {folders} ({file}), got {asked}: choose another name")
    else:
        _run("dataset", "add", name, "--normal", str(folder), *(["--abnormal", str(abnormal)] if abnormal else []))
    _run("refresh", "--select", f"*{name}/detector")
    return load_detector(name, device=device)


def _run(*words: str) -> None:
    """Run a command of ``proxyano`` and pass its lines on, also in a notebook."""
    line = [sys.executable, "-m", "pipeline.cli", *words]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for text in process.stdout:
            sys.stdout.write(text)
    if process.returncode:
        raise ProxyAnoError(f"proxyano {' '.join(words)} ended with {process.returncode}; the reason is printed above")
