"""Damaged files, archives, labels and requests: nothing may pass the border of the readers, hang, or take the memory.

    python -m benchmarks.fuzz --minutes 10 --targets images dicom nifti stacks archives labels requests
    python -m benchmarks.fuzz --targets images --seed 1234      one input again, with its traceback

Every input is a valid file, made in code, that the generator of its number damages: bits flipped, bytes set, numbers
of a header changed, lengths inflated, parts cut, repeated, zeroed or taken from another file. It is tried in a process
with a clock of CPU time and a limit of its address space. Printed: inputs tried, how many were read and refused,
exceptions past the border, inputs of more than 20 s of CPU, and of more than 1 GiB (the whole process, or half of it
beyond what a large one starts with). Exits 1 if
there is any of the last three; `--keep FOLDER` writes those inputs.
"""

import argparse
import contextlib
import gc
import logging
import multiprocessing
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import pandas as pd

from benchmarks.fuzz_targets import TARGETS, Target, damaged

SECONDS = 20  # of CPU, of one input
MEMORY = 2**30  # bytes of the whole process
SPACE = 8 * 2**30  # bytes of address space beyond what the process starts with: saves the machine
WAIT = 120.0  # seconds without an answer, after which a process is taken for one that sleeps for ever


@dataclass
class Tried:
    """What became of the inputs of one target."""

    target: str
    outcomes: Counter[str] = field(default_factory=Counter)  # read, refused
    past: dict[int, str] = field(default_factory=dict)  # number of the input → exception past the border
    slow: dict[int, float] = field(default_factory=dict)  # → seconds of CPU
    large: dict[int, float] = field(default_factory=dict)  # → MiB
    slowest: float = 0.0  # seconds of CPU
    peak: float = 0.0  # MiB

    @property
    def failed(self) -> dict[int, str]:
        """Number of the input → what is wrong with it."""
        slow = {number: f"{seconds:.0f} s" for number, seconds in self.slow.items()}
        return {**self.past, **slow, **{number: f"{size:.0f} MiB" for number, size in self.large.items()}}

    @property
    def row(self) -> dict[str, object]:
        """Of the printed table."""
        return {
            "target": self.target,
            "inputs": self.outcomes.total() + len(self.past),
            **{name: self.outcomes[name] for name in ("read", "refused")},
            "past the border": len(self.past),
            f"over {SECONDS} s": len(self.slow),
            "over 1 GiB": len(self.large),
            "slowest, s": round(self.slowest, 1),
            "peak, MiB": round(self.peak),
        }


def attempt(target: Target, number: int) -> str:
    """Try one input in this process: read or refused; raises what passes the border."""
    name, data = damaged(target, number)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return target.run(name, data, Path(folder))


def _child(target: Target, numbers: Iterable[int], answers: Connection) -> None:
    """Try inputs and send (number, outcome, exception, CPU seconds, MiB); a signal ends an input that hangs.

    Where an input took more than the limit the process ends, as its peak would count for the inputs that follow.
    """
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    logging.disable()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    usual = max(0.0, _peak() - MEMORY / 2)
    for number in numbers:
        answers.send((number, "", "", 0.0, 0.0))
        signal.setitimer(signal.ITIMER_PROF, SECONDS * 1.25)
        began, outcome, passed = time.process_time(), "", ""
        try:
            outcome = attempt(target, number)
        except BaseException as error:  # noqa: BLE001 - what passes the border is what is looked for
            place = traceback.extract_tb(error.__traceback__)[-1]
            passed = f"{type(error).__name__}: {str(error)[:150]} ({Path(place.filename).name}:{place.lineno})"
        signal.setitimer(signal.ITIMER_PROF, 0)
        peak = _peak() - usual
        answers.send((number, outcome, passed, time.process_time() - began, peak / 2**20))
        if peak > MEMORY:
            return
        if number % 50 == 0:
            gc.collect()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2.0**10


def tried(target: Target, start: int, stop: int, minutes: float = float("inf")) -> Tried:
    """Try the inputs from ``start`` to before ``stop`` for some minutes, in a process that is renewed if it ends."""
    found, end = Tried(target.name), time.monotonic() + 60 * minutes
    context = multiprocessing.get_context("fork")
    target.ready()
    while start < stop and time.monotonic() < end:
        answers, given = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(target, range(start, stop), given))
        child.start()
        given.close()
        begun = _listen(found, answers, end)
        child.kill()
        child.join()
        if begun is not None:
            start, done = begun
            if not done and time.monotonic() < end:
                _ended(found, start, child.exitcode)
            start += 1
    return found


def _listen(found: Tried, answers: Connection, end: float) -> tuple[int, bool] | None:
    """Note what a process says until it ends, falls silent or the time is over; its last input, and whether done."""
    last = None
    with contextlib.suppress(EOFError):
        while time.monotonic() < end and answers.poll(WAIT):
            number, outcome, passed, seconds, peak = answers.recv()
            last = number, bool(outcome or passed)
            if last[1]:
                _note(found, number, outcome, passed, seconds, peak)
    return last


def _note(found: Tried, number: int, outcome: str, passed: str, seconds: float, peak: float) -> None:
    if passed:
        found.past[number] = passed
    else:
        found.outcomes[outcome] += 1
    found.slowest, found.peak = max(found.slowest, seconds), max(found.peak, peak)
    if seconds > SECONDS:
        found.slow[number] = seconds
    if peak * 2**20 > MEMORY:
        found.large[number] = peak


def _ended(found: Tried, number: int, code: int | None) -> None:
    """A process that ended, or had to be ended, in the middle of an input."""
    if code in (-signal.SIGPROF, -signal.SIGKILL):
        found.slow[number] = SECONDS * 1.25
    else:
        found.past[number] = f"the process ended with {code}"


def main() -> int:
    """Try every target, print the table and what failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", choices=sorted(TARGETS), default=sorted(TARGETS))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--start", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, help="number of the only input")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that failed")
    asked = parser.parse_args()
    if asked.seed is not None:
        print([attempt(TARGETS[name], asked.seed) for name in asked.targets])
        return 0
    found = [tried(TARGETS[name], asked.start, 10**9, asked.minutes) for name in asked.targets]
    print(pd.DataFrame([one.row for one in found]).to_markdown(index=False))
    for one in found:
        for number, what in sorted(one.failed.items()):
            print(f"{one.target} --seed {number}: {what}")
            if asked.keep:
                name, data = damaged(TARGETS[one.target], number)
                asked.keep.mkdir(parents=True, exist_ok=True)
                (asked.keep / f"{one.target}-{number}-{name}").write_bytes(data)
    return 1 if any(one.failed for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
