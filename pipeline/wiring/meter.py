"""Minutes and peak memory of a piece of work, as numbers for the report."""

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

import psutil


@dataclass
class Meter:
    """Context manager that samples the resident memory of this process four times a second.

    ``minutes`` is wall time; ``peak_gib`` the largest resident set seen (GiB).
    """

    minutes: float = 0.0
    peak_gib: float = 0.0
    _start: float = field(default=0.0, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)

    def __enter__(self) -> "Meter":
        self._start = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="meter", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._sample()
        self.minutes = (time.monotonic() - self._start) / 60

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            self._sample()

    def _sample(self) -> None:
        self.peak_gib = max(self.peak_gib, psutil.Process().memory_info().rss / 2**30)

    def as_meta(self) -> dict[str, float]:
        """What a version's marker keeps of it."""
        return {"minutes": round(self.minutes, 3), "peak_gib": round(self.peak_gib, 3)}
