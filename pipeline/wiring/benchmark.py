"""Make runs of the benchmark and the ablations, each in its own process, which can be killed and measured alone."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Due:
    """One run with the stages to make."""

    dataset: str
    name: str
    stages: tuple[str, ...]

    @property
    def title(self) -> str:
        """For progress displays and messages."""
        return f"{self.dataset} {self.name}"

    @property
    def command(self) -> list[str]:
        """The command that a user would type."""
        select = ",".join(f"{self.dataset}/{stage}" for stage in self.stages)
        line = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "pipeline.definitions"]
        return [*line, "--select", select, "--partition", self.name]


@dataclass(frozen=True)
class Made:
    """A finished run."""

    due: Due
    seconds: float
    log: Path
    failed: bool


def make(
    due: Sequence[Due], logs: Path, *, workers: int, started: Callable[[Due], object] = lambda due: None
) -> Iterator[Made]:
    """Make all runs, ``workers`` at a time, each with its share of the cores; yield each one as it ends.

    A failed run does not stop the others. The output of a process goes to ``<logs>/<dataset>-<name>.log``.
    """
    logs.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // workers)
    environment = dict.fromkeys(THREADS, str(threads)) | os.environ  # the user's own thread settings win

    def one(each: Due) -> Made:
        started(each)
        log, began = logs / f"{each.dataset}-{each.name}.log", time.monotonic()
        with log.open("ab") as output:
            code = subprocess.run(each.command, env=environment, stdout=output, stderr=output, check=False).returncode
        return Made(each, time.monotonic() - began, log, failed=code != 0)

    with ThreadPoolExecutor(workers) as pool:
        for future in as_completed([pool.submit(one, each) for each in due]):
            yield future.result()


def run(*words: str) -> None:
    """Run ``python -m <words>`` to its end and show its output; ``RuntimeError`` if it fails."""
    if subprocess.run([sys.executable, "-m", *words], check=False).returncode != 0:
        raise RuntimeError(f"{' '.join(words)} failed: its message is above")
