"""Tags of Dagster runs: the process of a run, so that a killed run can be closed."""

import os
import socket

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
