"""What a run knows of itself: its process and commit, its minutes and peak memory, a failure in one sentence."""

import multiprocessing
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

from pipeline.wiring.settings import Settings

PROCESS = "proxyano/process"  # host/pid/start in seconds since 1970
REFRESH = "proxyano/refresh"  # shared by the runs of one refresh


def claim(instance: dg.DagsterInstance, run_id: str) -> None:
    """Tag a run with its process: this one, or that which started it for one step."""
    if instance.has_run(run_id):
        above = multiprocessing.parent_process() if Settings().executor == "multiprocess" else None
        process = psutil.Process(above.pid if above else None)
        instance.add_run_tags(run_id, {PROCESS: f"{socket.gethostname()}/{process.pid}/{process.create_time():.2f}"})


def close_dead(instance: dg.DagsterInstance) -> None:
    """Mark runs of this host whose process is gone as failed, so that they free their pools."""
    going = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    for run in instance.get_runs(dg.RunsFilter(statuses=going)):
        host, _, process = run.tags.get(PROCESS, "").partition("/")
        if host == socket.gethostname() and not _alive(process):
            instance.report_run_failed(run, message=f"Process {process.partition('/')[0]} no longer exists.")


def _alive(process: str) -> bool:
    pid, _, started = process.partition("/")
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) < 1
    except psutil.NoSuchProcess:
        return False


def git_commit() -> str:
    """The commit, with ``+changes`` if the work tree differs; ``unknown`` outside a checkout."""
    commit, status = (
        subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
        for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
    )
    return "unknown" if commit.returncode else commit.stdout.strip() + ("+changes" if status.stdout.strip() else "")


@contextmanager
def metered() -> Iterator[dict[str, float]]:
    """Measure a block; the dictionary it yields is filled when the block ends.

    ``minutes`` is wall time; ``cpu_seconds`` user and system time, and ``peak_gib`` the largest resident memory of this
    process, sampled four times a second.
    """
    figures: dict[str, float] = {}
    process, ended, peak = psutil.Process(), threading.Event(), 0.0
    started, worked = time.monotonic(), time.process_time()

    def watch() -> None:
        nonlocal peak
        going = True
        while going:
            going = not ended.wait(0.25)
            peak = max(peak, process.memory_info().rss / 2**30)

    thread = threading.Thread(target=watch, name="meter", daemon=True)
    thread.start()
    try:
        yield figures
    finally:
        ended.set()
        thread.join()
        figures |= {"minutes": round((time.monotonic() - started) / 60, 3), "peak_gib": round(peak, 3)}
        figures["cpu_seconds"] = round(time.process_time() - worked, 2)


def one_sentence(text: str) -> dg.Failure:
    """A failure whose log holds ``text`` alone; the process that raises it must end with its run."""
    sys.tracebacklimit = 0
    return dg.Failure(description=text, allow_retries=False)
