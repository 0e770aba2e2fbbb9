"""Make runs of the benchmark in processes of their own: each can be killed, has its own memory figure, and resumes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Due:
    """One run of the benchmark with the stages that are to be made."""

    dataset: str
    name: str
    stages: tuple[str, ...]

    @property
    def title(self) -> str:
        """For progress displays and log files."""
        return f"{self.dataset} {self.name}"

    @property
    def command(self) -> list[str]:
        """The same a user would type."""
        select = ",".join(f"{self.dataset}/{stage}" for stage in self.stages)
        line = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "pipeline.definitions"]
        return [*line, "--select", select, "--partition", self.name]


@dataclass(frozen=True, kw_only=True)
class Made:
    """How one went."""

    due: Due
    seconds: float
    log: Path
    failed: bool


def make(
    due: Sequence[Due], logs: Path, *, workers: int, started: Callable[[Due], object] = lambda due: None
) -> Iterator[Made]:
    """Make all, ``workers`` at a time, each on its share of the cores; a failed one does not stop the others.

    Yields each as it ends. What a process prints goes to ``<logs>/<dataset>-<name>.log``.
    """
    logs.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // workers)

    def one(each: Due) -> Made:
        started(each)
        log, began = logs / f"{each.dataset}-{each.name}.log", time.monotonic()
        # a user's own thread setting counts
        environment = dict.fromkeys(THREADS, str(threads)) | os.environ
        with log.open("ab") as output:
            code = subprocess.run(each.command, env=environment, stdout=output, stderr=output, check=False).returncode
        return Made(due=each, seconds=time.monotonic() - began, log=log, failed=code != 0)

    with ThreadPoolExecutor(workers) as pool:
        for future in as_completed([pool.submit(one, each) for each in due]):
            yield future.result()


def run(*words: str) -> None:
    """A command of this project to its end, its output shown; ``RuntimeError`` where it fails."""
    if subprocess.run([sys.executable, "-m", *words], check=False).returncode != 0:
        raise RuntimeError(f"{' '.join(words)} failed: its message is above")
