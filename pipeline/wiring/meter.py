"""Minutes and peak memory of a piece of work, for the reports."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


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
