"""SIGKILL of single steps of two lanes side by side, on PostgreSQL: in the end the same versions as without any.

    python -m benchmarks.kills_postgres [--count 20]

Two sample lanes run with `PROXYANO_EXECUTOR=multiprocess` in `$PROXYANO_HOME/kills-postgres`, Dagster and MLflow on a
PostgreSQL server of their own. Again and again a random step dies at a random moment; a run that ends is started
again. Half-way, in a run, the server restarts at once (`pg_ctl -m immediate`). A whole lane that is made before the
last kill is compared and begins from nothing. Compared are the data versions of a run in one process on SQLite; every
finished version is checked against its marker. Exits 1 if a version differs.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.kills import ROOT, finish, versions
from benchmarks.postgres import Server, server
from pipeline.wiring.settings import Settings

LANES = ("brain_mri", "oct")
SELECT = ",".join(f"*{lane}/evaluation" for lane in LANES)
LONGEST = 12.0  # seconds from one kill to the next, while a step runs


def start(home: Path, postgres: Server) -> subprocess.Popen[bytes]:
    """Both lanes, a process a step, in a process group of its own."""
    own = {"PROXYANO_HOME": str(home), "DAGSTER_HOME": str(home / "dagster"), "PROXYANO_PRESET": "sample"}
    own |= {"PROXYANO_EXECUTOR": "multiprocess", **postgres.environment()}
    environment = {name: value for name, value in os.environ.items() if name != "PROXYANO_RAW"} | own
    line = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "pipeline.definitions", "--select", SELECT]
    with (home / "output.txt").open("ab") as output:
        return subprocess.Popen(line, env=environment, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)


def steps(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Processes of the steps: what the run's fork server has forked."""
    try:
        servers = [child for child in psutil.Process(run.pid).children() if "forkserver" in " ".join(child.cmdline())]
        return [step for each in servers for step in each.children() if step.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return []


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng, top = np.random.default_rng(asked.seed), Settings().home / "kills-postgres"
    reference, home = top / "reference", top / "home"  # a reference that is there already is refreshed
    shutil.rmtree(home, ignore_errors=True)
    for lane in LANES:
        finish(reference, "refresh", "--select", f"*{lane}/evaluation")
    expected = versions(reference)
    (home / "dagster").mkdir(parents=True)
    wiring = ROOT / "pipeline" / "wiring"
    text = "".join((wiring / part).read_text() for part in ("dagster.yaml", "postgres.yaml"))
    (home / "dagster" / "dagster.yaml").write_text(text)
    kills, runs, restarts, compared = 0, 0, 0, 0
    last = False  # whether the lanes were made whole after the last kill
    began = time.monotonic()
    with server() as postgres:
        while not last:
            run, runs = start(home, postgres), runs + 1
            try:
                due = time.monotonic() + float(rng.uniform(0, LONGEST))
                while run.poll() is None:
                    time.sleep(0.05)
                    found = steps(run)
                    if kills == asked.count or time.monotonic() < due or not found:
                        continue
                    if kills >= asked.count // 2 and not restarts:
                        postgres.control("restart", "-m", "immediate")
                        restarts += 1
                        print(json.dumps({"restart of PostgreSQL in run": runs}), flush=True)
                        continue
                    found[int(rng.integers(len(found)))].send_signal(signal.SIGKILL)
                    kills += 1
                    print(json.dumps({"kill": kills, "run": runs, "steps then": len(found)}), flush=True)
                    due = time.monotonic() + float(rng.uniform(0, LONGEST))
            finally:
                if run.poll() is None:
                    os.killpg(run.pid, signal.SIGKILL)
                    run.wait()
            held = versions(home)
            if run.returncode == 0:
                same = held == expected
                print(json.dumps({"run": runs, "whole": True, "same versions": same}), flush=True)
                if not same:
                    return 1
                compared, last = compared + 1, kills == asked.count
                if not last:
                    shutil.rmtree(home / "stores")
            elif kills == asked.count and runs > 3 * asked.count:
                raise RuntimeError(f"no run ends well: see {home / 'output.txt'}")
    minutes = (time.monotonic() - began) / 60
    row = {"kills": kills, "restarts": restarts, "runs": runs, "minutes": round(minutes, 1)}
    print(json.dumps(row | {"assets": len(expected), "compared": compared, "same versions": True}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
