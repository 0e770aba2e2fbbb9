"""What a run knows of itself: its process and commit, its minutes and peak memory, a failure in one sentence."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil

PROCESS = "proxyano/process"  # host/pid/start in seconds since 1970
REFRESH = "proxyano/refresh"  # shared by the runs of one refresh


def claim(instance: dg.DagsterInstance, run_id: str) -> None:
    """Tag a run with this process."""
    if instance.has_run(run_id):
        started = psutil.Process().create_time()
        instance.add_run_tags(run_id, {PROCESS: f"{socket.gethostname()}/{os.getpid()}/{started:.2f}"})


def close_dead(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs of this host whose process is gone as failed, so that they free their pools; return their ids."""
    going = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    closed = []
    for run in instance.get_runs(dg.RunsFilter(statuses=going)):
        host, _, process = run.tags.get(PROCESS, "").partition("/")
        if host == socket.gethostname() and not _alive(process):
            instance.report_run_failed(run, message=f"Process {process.partition('/')[0]} no longer exists.")
            closed.append(run.run_id)
    return closed


def _alive(process: str) -> bool:
    pid, _, started = process.partition("/")
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) < 1
    except psutil.NoSuchProcess:
        return False


def git_commit() -> str:
    """The commit, with ``+changes`` if the work tree differs; ``unknown`` outside a checkout."""
    here = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    if commit.returncode != 0:
        return "unknown"
    status = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=False)
    return commit.stdout.strip() + ("+changes" if status.stdout.strip() else "")


@contextmanager
def metered() -> Iterator[dict[str, float]]:
    """Measure a block; the dictionary it yields is filled when the block ends.

    ``minutes`` is wall time; ``peak_gib`` the largest resident memory of this process, sampled four times a second.
    """
    figures: dict[str, float] = {}
    process, ended, started = psutil.Process(), threading.Event(), time.monotonic()
    samples = [0.0]

    def sample() -> None:
        samples[0] = max(samples[0], process.memory_info().rss / 2**30)

    def watch() -> None:
        while not ended.wait(0.25):
            sample()

    thread = threading.Thread(target=watch, name="meter", daemon=True)
    thread.start()
    try:
        yield figures
    finally:
        ended.set()
        thread.join()
        sample()
        minutes = (time.monotonic() - started) / 60
        figures |= {"minutes": round(minutes, 3), "peak_gib": round(samples[0], 3)}


def one_sentence(text: str) -> dg.Failure:
    """A failure whose log holds ``text`` alone; the process that raises it must end with its run."""
    sys.tracebacklimit = 0
    return dg.Failure(description=text, allow_retries=False)
