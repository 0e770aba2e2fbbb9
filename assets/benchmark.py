"""Runs of the benchmark and of the ablations: which are outdated, how they are made, and the job ``benchmark``.

Each run is made in its own process, which can be killed and measured alone.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from assets.stage import BENCHMARK, LaneAssets, up_to_date
from assets.stages import STAGES
from models.arithmetic import thread_share
from pipeline.errors import ProxyAnoError
from pipeline.store.versions import Store


@dataclass(frozen=True)
class Due:
    """One run with the stages to make."""

    dataset: str
    name: str
    stages: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict, hash=False)  # variables that differ from ours

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
    due: Sequence[Due],
    logs: Path,
    *,
    workers: int,
    started: Callable[[Due], object] = lambda due: None,
    wanted: Callable[[Due], bool] = lambda due: True,
) -> Iterator[Made]:
    """Make all runs, ``workers`` at a time, each with its share of the cores; yield each one as it ends.

    A failed run does not stop the others; one that is not ``wanted`` when its turn comes is left out. The output of a
    process goes to ``<logs>/<dataset>-<name>.log``.
    """
    logs.mkdir(parents=True, exist_ok=True)
    environment = thread_share(workers) | os.environ  # the user's own thread settings win

    def one(each: Due) -> Made | None:
        if not wanted(each):
            return None
        started(each)
        log, began = logs / f"{each.dataset}-{each.name}.log", time.monotonic()
        with log.open("ab") as output:
            variables = environment | each.environment
            code = subprocess.run(each.command, env=variables, stdout=output, stderr=output, check=False).returncode
        return Made(each, time.monotonic() - began, log, failed=code != 0)

    with ThreadPoolExecutor(workers) as pool:
        try:
            for future in as_completed([pool.submit(one, each) for each in due]):
                if (made := future.result()) is not None:
                    yield made
        finally:  # after Ctrl-C no other run begins
            pool.shutdown(wait=False, cancel_futures=True)


def run(*words: str) -> None:
    """Run ``python -m <words>`` to its end and show its output; ``ProxyAnoError`` if it fails."""
    if subprocess.run([sys.executable, "-m", *words], check=False).returncode != 0:
        raise ProxyAnoError(f"{' '.join(words)} failed: its message is above")


REPORT = "benchmark_report"


def due(lanes: Sequence[LaneAssets], store: Store, stages: Sequence[str] = BENCHMARK) -> list[Due]:
    """Runs with their stages from the first outdated one on: first seeds first, lanes with the form off last."""
    table = [stage for stage in STAGES if stage.name in stages]
    found = []
    for lane in lanes:
        for name, row in lane.runs(stages[0]).items():
            current = [up_to_date(lane, stage, store, name) for stage in table]
            if not all(current):
                outdated = tuple(stages[current.index(False) :])
                found.append((bool(lane.source), row.seed, Due(lane.dataset.name, name, outdated)))
    return [each for *_, each in sorted(found, key=lambda row: row[:2])]


def prepare(lanes: Sequence[LaneAssets]) -> None:
    """Make what the runs of the lanes read where it is missing or outdated."""
    for lane in lanes:
        run("pipeline.cli", "refresh", "--select", f"*{lane.key('normals').to_user_string()}")


def report(name: str = REPORT) -> None:
    """Make a report from the runs that exist."""
    run("dagster", "asset", "materialize", "-m", "pipeline.definitions", "--select", name)


@dg.op(
    config_schema={"workers": dg.Field(int, default_value=1, description="runs made side by side")},
    description="Trains and scores each missing run in its own process; runs that are up to date are skipped.",
    required_resource_keys={"store"},
)
def make_missing(context: dg.OpExecutionContext) -> None:
    """Run ``proxyano benchmark``."""
    run("pipeline.cli", "benchmark", "--workers", str(context.op_config["workers"]))


@dg.job(name="benchmark", description="Every method on every data set that has not been run yet, and the report.")
def benchmark_job() -> None:
    """The command ``proxyano benchmark``, for Dagster's pages."""
    make_missing()
