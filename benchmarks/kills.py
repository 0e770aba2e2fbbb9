"""SIGKILL at random moments of a sample lane, each followed by `proxyano refresh`: always the same versions, no orphan.

    python -m benchmarks.kills [--count 30]

Each round starts from nothing in a home of its own below `$PROXYANO_HOME/kills`, kills the lane of one data set (they
take turns) at a moment drawn evenly over its run, and then refreshes it to the end. Checked after every kill: each
finished version holds what its marker says, each pointer leads to one. Checked after every refresh: the data versions
are those of an undisturbed run, and after `proxyano clean --delete` no work, no unfinished folder and no temporary
file is left. Exits 1 if any check fails.
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
import pandas as pd

from pipeline.store.verify import MARKER
from pipeline.store.versions import Store
from pipeline.wiring.settings import Settings

LANES = ("brain_mri", "idrid", "oct")
ROOT = Path(__file__).parents[1]


def start(home: Path, *words: str) -> subprocess.Popen[bytes]:
    """A `proxyano` command in a process group of its own, on a home of its own."""
    own = {"PROXYANO_HOME": str(home), "DAGSTER_HOME": str(home / "dagster"), "PROXYANO_PRESET": "sample"}
    environment = {name: value for name, value in os.environ.items() if name != "PROXYANO_RAW"} | own
    home.mkdir(parents=True, exist_ok=True)
    with (home / "output.txt").open("ab") as output:
        line = [sys.executable, "-m", "pipeline.cli", *words]
        return subprocess.Popen(line, env=environment, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)


def finish(home: Path, *words: str) -> None:
    """The same to its end; ``RuntimeError`` where it fails."""
    if start(home, *words).wait() != 0:
        raise RuntimeError(f"proxyano {' '.join(words)} failed: see {home / 'output.txt'}")


def versions(home: Path) -> dict[str, str]:
    """Asset → current data version; every pointer and every finished version is checked on the way."""
    store, top = Store(home / "stores"), home / "stores" / "current"
    for marker in (home / "stores" / "versions").rglob(MARKER):
        asset = marker.parent.parent.relative_to(home / "stores" / "versions").as_posix()
        store.verify(store.get(asset, marker.parent.name))
    found = {}
    for pointer in sorted(top.rglob("*.json")):
        asset = pointer.relative_to(top).with_suffix("").as_posix()
        found[asset] = store.get(asset, json.loads(pointer.read_text())["data_version"]).data_version
    return found


def orphans(home: Path) -> list[str]:
    """What a clean should have left nothing of."""
    stores = home / "stores"
    found = [path for path in (stores / "work").rglob("*") if path.is_file()]
    found += [path for path in stores.rglob("*") if path.name.endswith((".tmp", ".partial"))]
    parents = {marker.parent for marker in (stores / "versions").rglob(MARKER)}
    files = (path for path in (stores / "versions").rglob("*") if path.is_file())
    found += [path for path in files if not any(parent in parents for parent in path.parents)]
    return [path.relative_to(home).as_posix() for path in found]


def kill(home: Path, lane: str, lasts: float, rng: np.random.Generator) -> float:
    """SIGKILL a lane at a random moment of its run; the seconds. A run that was over by then is drawn again."""
    while True:
        moment = float(rng.uniform(0, lasts))
        process = start(home, "refresh", "--select", f"*{lane}/evaluation")
        time.sleep(moment)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return moment
        shutil.rmtree(home)


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng, top = np.random.default_rng(asked.seed), Settings().home / "kills"
    shutil.rmtree(top, ignore_errors=True)
    expected, lasts = {}, {}
    for lane in LANES[: asked.count]:
        began = time.monotonic()
        finish(top / lane, "refresh", "--select", f"*{lane}/evaluation")
        lasts[lane], expected[lane] = time.monotonic() - began, versions(top / lane)
    rows = []
    for number in range(asked.count):
        lane, home = LANES[number % len(LANES)], top / f"round-{number:02d}"
        moment = kill(home, lane, lasts[lane], rng)
        held = versions(home)
        began = time.monotonic()
        finish(home, "refresh", "--select", f"*{lane}/evaluation")
        again = time.monotonic() - began
        finish(home, "clean", "--delete")
        left = orphans(home)
        row = {
            "lane": lane,
            "killed after, s": round(moment, 1),
            "assets then": len(held),
            "refresh, s": round(again, 1),
        }
        row |= {"same versions": versions(home) == expected[lane], "orphans": len(left)}
        rows.append(row)
        print(json.dumps(row), flush=True)
        if row["same versions"] and not left:
            shutil.rmtree(home)
    table = pd.DataFrame(rows)
    print(table.to_markdown(index=False))
    good = bool(table["same versions"].all() and (table["orphans"] == 0).all())
    print("all the same, no orphan" if good else "NOT all the same: the homes of those rounds are kept")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
