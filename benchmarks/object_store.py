"""A sample lane in a bucket of a real S3 server: homes and workers that share no folder, kills, an outage, a race.

    python -m benchmarks.object_store [--dataset brain_mri] [--seconds 10]

Below `$PROXYANO_HOME/object_store`, from nothing each time (Linux; as root, workers do not even see the homes):

1. `alone`: the lane in a home without a bucket.
2. `first`: the same with a bucket and two dask workers with folders of their own. A worker is killed as it computes
   proxies, the builder as it trains; in the refresh that follows the wire to the server is cut for some seconds, and
   the other worker is killed as it measures test images. A killed worker is started again, as a cluster would.
3. `second`: a home that has built nothing: `proxyano refresh` makes nothing, `proxyano score` fetches the detector.
4. `third` and `fourth`: two builders of one lane at the same time, in an empty bucket: each asset is made once.

Prints a table. Exits 1 unless every home has the data versions of `alone` and every check holds.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.object_server import BUCKET, Wire, free_port, serving, variables
from pipeline.store.shared import SharedStore
from pipeline.store.verify import MARKER
from pipeline.store.versions import Store
from pipeline.wiring.settings import Settings

ROOT = Path(__file__).parents[1]
HIDDEN = 'mount -t tmpfs none "$0" && exec "$@"'  # in a mount namespace of its own


class Home:
    """A home with a log of its commands."""

    def __init__(self, root: Path, **more: str) -> None:
        shutil.rmtree(root, ignore_errors=True)
        (root / "dagster").mkdir(parents=True)
        shutil.copy(ROOT / "pipeline" / "wiring" / "dagster.yaml", root / "dagster")
        foreign = ("PROXYANO_", "DAGSTER_", "MLFLOW_", "DASK_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        own = {"PROXYANO_HOME": str(root), "DAGSTER_HOME": str(root / "dagster"), "PROXYANO_PRESET": "sample"}
        self.root, self.environment, self.log = root, kept | own | more, root / "output.txt"

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """A `proxyano` command in a process group of its own."""
        with self.log.open("ab") as output:
            line = [sys.executable, "-m", "pipeline.cli", *words]
            return subprocess.Popen(
                line, env=self.environment, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
            )

    def run(self, *words: str) -> float:
        """The same to its end; its seconds."""
        started = time.monotonic()
        if self.start(*words).wait() != 0:
            raise RuntimeError(f"proxyano {' '.join(words)} failed: see {self.log}")
        return time.monotonic() - started

    @property
    def store(self) -> Store:
        """Its store."""
        remote = self.environment.get("PROXYANO_STORE")
        return SharedStore(self.root / "stores", remote) if remote else Store(self.root / "stores")

    def versions(self, dataset: str) -> dict[str, str]:
        """Asset → data version, by the pointers on its disk."""
        top = self.root / "stores" / "current"
        names = [path.relative_to(top).with_suffix("").as_posix() for path in sorted((top / dataset).glob("*.json"))]
        return {name: str(Store(self.root / "stores").pointed(name)) for name in names}

    def fetched(self) -> list[str]:
        """Assets of which it has files."""
        return sorted(path.parent.parent.name for path in (self.root / "stores" / "versions").rglob(MARKER))


class Workers:
    """A dask scheduler and two workers, each with a folder of its own, which do not see the folder ``hidden``."""

    def __init__(self, top: Path, hidden: Path, environment: dict[str, str]) -> None:
        self.top, self.environment, self.started = top, environment, list[subprocess.Popen[bytes]]()
        self.shut = ["unshare", "-m", "sh", "-c", HIDDEN, str(hidden)] if os.geteuid() == 0 else []
        port = free_port()
        self.address = f"tcp://127.0.0.1:{port}"
        self._dask("scheduler", "scheduler", "--host", "127.0.0.1", "--port", str(port))
        self.workers = {number: self._worker(number) for number in (1, 2)}

    def folder(self, number: int) -> Path:
        """Where a worker keeps its files."""
        return self.top / f"worker{number}"

    def _worker(self, number: int) -> subprocess.Popen[bytes]:
        place = self.folder(number)
        options = ["--nthreads", "1", "--no-nanny", "--local-directory", str(place)]
        return self._dask(place.name, "worker", self.address, *options, before=self.shut)

    def _dask(self, name: str, *words: str, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        line = [*before, sys.executable, "-m", "dask", *words, "--dashboard-address", ":0"]
        with (self.top / f"{name}.txt").open("ab") as output:
            self.started.append(subprocess.Popen(line, env=self.environment, cwd=ROOT, stdout=output, stderr=output))
        return self.started[-1]

    def kill(self, number: int) -> None:
        """SIGKILL a worker, and start another in its place."""
        self.workers[number].kill()
        self.workers[number].wait()
        self.workers[number] = self._worker(number)

    def end(self) -> None:
        """Kill all of them."""
        for process in self.started:
            process.kill()
            process.wait()


def when(ready: Callable[[], object], then: Callable[[], object], done: threading.Event) -> threading.Thread:
    """Do something as soon as something else is so."""

    def watch() -> None:
        while not ready() and not done.is_set():
            time.sleep(0.05)
        if not done.is_set():
            then()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def bars(home: Home) -> str:
    """The progress of training in a home's log."""
    return " ".join(re.findall(r"(stage\d \w+: +100%.*?step/s)", home.log.read_text(errors="replace")))


def measure(top: Path, dataset: str, seconds: float, port: int) -> tuple[list[tuple[str, str]], list[str]]:
    """Rows of the table, and what failed."""
    rows, wrong = list[tuple[str, str]](), list[str]()

    def check(what: str, holds: object) -> None:
        rows.append((what, "yes" if holds else "NO"))
        wrong.extend([] if holds else [what])

    select, homes = ("refresh", "--select", f"*{dataset}/evaluation"), top / "homes"
    alone = Home(homes / "alone")
    rows.append(("alone, s", f"{alone.run(*select):.0f}"))
    wanted = alone.versions(dataset)

    wire, bucket = Wire(port), f"s3://{BUCKET}/lane"
    shared = variables(wire.port) | {"PROXYANO_STORE": bucket}
    first, done = Home(homes / "first", **shared), threading.Event()
    dask = Workers(top, homes, dict(first.environment))
    killed = list[int]()
    training = lambda: f"{dataset}/stage1 " in first.log.read_text(errors="replace")  # noqa: E731 - its progress bar

    def holding(asset: str) -> list[int]:
        """Workers that were not killed before and have fetched a version of an asset."""
        return [
            number
            for number in (1, 2)
            if number not in killed and any(asset in path.parts for path in dask.folder(number).rglob(MARKER))
        ]

    def kill_one_of(workers: list[int]) -> None:
        dask.kill(workers[0])
        killed.append(workers[0])

    try:
        first.environment["DASK_SCHEDULER_ADDRESS"] = dask.address
        started = time.monotonic()
        builder = first.start(*select)
        one = when(lambda: holding("tiles"), lambda: kill_one_of(holding("tiles")), done)  # for its proxies
        two = when(training, lambda: os.killpg(builder.pid, signal.SIGKILL), done)
        check("the builder is killed as it trains", builder.wait() == -signal.SIGKILL)
        for each in (one, two):
            each.join(60)
        check("a worker was killed as it computed proxies", len(killed) == 1)
        before, again = len(first.log.read_text()), first.start(*select)
        while "wave " not in first.log.read_text()[before:] and again.poll() is None:  # it begins
            time.sleep(0.1)
        wire.cut()
        time.sleep(seconds)
        wire.join()
        three = when(lambda: holding("detector"), lambda: kill_one_of(holding("detector")), done)  # to score with
        check(f"the refresh goes on after {seconds:.0f} s without a server", again.wait() == 0)
        done.set()
        three.join()
        check("the other worker was killed as it measured test images", len(killed) == 2)
        rows.append(("first, with all that, s", f"{time.monotonic() - started:.0f}"))
    finally:
        done.set()
        dask.end()
    check("first has the data versions of alone", first.versions(dataset) == wanted)
    told = first.log.read_text().count("does not answer; trying again")
    check(f"it met the outage ({told} attempts)", told)
    a, b = (home.store.current(f"{dataset}/proxies") for home in (alone, first))
    check("proxies are equal byte for byte", alone.store.marker(a)["files"] == first.store.marker(b)["files"])
    check("no record of a task is left", not SharedStore(top, bucket).remote.names("work"))

    second = Home(homes / "second", **shared)
    rows.append(("second: refresh, s", f"{second.run(*select):.0f}"))
    check("it makes nothing", "nothing to do" in second.log.read_text())
    check("it fetches no version", second.fetched() == [])
    image = next(path for path in sorted((second.root / "sample" / dataset).rglob("*.jpg")))
    score = ("score", str(image), "--dataset", dataset, "--out", str(top / "scores"), "--yes")
    rows.append(("second: score an image, s", f"{second.run(*score):.0f}"))
    check("it fetches the detector alone", second.fetched() == ["detector"])
    check("second has the data versions of alone", second.versions(dataset) == wanted)

    race = variables(port) | {"PROXYANO_STORE": f"s3://{BUCKET}/race"}
    racers = [Home(homes / name, **race) for name in ("third", "fourth")]
    started = time.monotonic()
    codes = [process.wait() for process in [racer.start(*select) for racer in racers]]
    rows.append(("two builders at once, s", f"{time.monotonic() - started:.0f}"))
    check("both end well", codes == [0, 0])
    check("both have the data versions of alone", all(racer.versions(dataset) == wanted for racer in racers))
    stored = SharedStore(top, f"s3://{BUCKET}/race")
    check("one version of each asset is stored", all(len(stored.versions(asset)) == 1 for asset in wanted))
    trained = [stage for stage in ("stage1", "stage2") for racer in racers if f"{stage} " in bars(racer)]
    check("each network is trained by one of them", trained == ["stage1", "stage2"])
    return rows, wrong


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="brain_mri")
    parser.add_argument("--seconds", type=float, default=10, help="length of the cut")
    asked, top = parser.parse_args(), Settings().home / "object_store"
    shutil.rmtree(top, ignore_errors=True)
    top.mkdir(parents=True)
    with serving() as port:
        os.environ.update(variables(port))
        rows, wrong = measure(top, asked.dataset, asked.seconds, port)
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:{width}}  {value}" for name, value in rows))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
