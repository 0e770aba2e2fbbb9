"""Dagster's instance, looked at without making one."""

import re
import sqlite3
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from pipeline.wiring.doctor_checks import Finding

FILES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
"""The databases of an instance that ran; opening one without them would make them."""
_ELSEWHERE = re.compile(r"^(storage|run_storage|event_log_storage|schedule_storage):", re.MULTILINE)
_POOLS = re.compile(r"^ +pools:", re.MULTILINE)


def dagster(home: Path) -> Finding:
    """Whether the instance of ``DAGSTER_HOME`` opens, and how many runs it knows."""
    if not home.is_absolute():
        remedy = "set DAGSTER_HOME to an absolute path"
        return Finding(name="Dagster", state="problem", found=f"DAGSTER_HOME is {home}", remedy=remedy)
    settings = home / "dagster.yaml"
    text = settings.read_text() if settings.is_file() else ""
    if _ELSEWHERE.search(text):
        found = f"{home}, a storage of its own, which is not looked into"
        return Finding(name="Dagster", state="warn", found=found, remedy="dagster instance info")
    if not all((home / name).is_file() for name in FILES):
        return Finding(name="Dagster", state="ok", found=f"{home}, made by the first run")
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            runs = instance.get_runs_count()
    except (dg.DagsterError, SQLAlchemyError, sqlite3.Error, OSError) as error:
        remedy = "dagster instance migrate; if that fails, move the folder away: versions in stores/ stay"
        found = f"{home} does not open: {str(error).splitlines()[0]}"
        return Finding(name="Dagster", state="problem", found=found, remedy=remedy)
    if not _POOLS.search(text):
        remedy = f"copy pipeline/wiring/dagster.yaml to {home}"
        found = f"{home}, {runs} runs; its dagster.yaml has no pools: runs of one asset do not wait in the queue"
        return Finding(name="Dagster", state="warn", found=found, remedy=remedy)
    return Finding(name="Dagster", state="ok", found=f"{home}, {runs} runs")
