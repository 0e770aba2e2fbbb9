"""A fixed slice of what fuzzing tries, that its counts can fail, and inputs that passed the border once."""

import time

import numpy as np
import pytest

from benchmarks import fuzz
from benchmarks.fuzz_targets import TARGETS, Target

pytestmark = pytest.mark.slow
COUNTS = dict.fromkeys(TARGETS, 150) | {"requests": 40}  # whose answers hold overlays


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_nothing_of_a_slice_passes_the_border(name, count):
    found = fuzz.tried(TARGETS[name], 0, count)
    assert found.failed == {}
    assert found.outcomes.total() == count
    assert min(found.outcomes["read"], found.outcomes["refused"]) > count / 10
    assert found.slowest < 3


def _misbehaves(name, data, folder):
    if data == b"error":
        raise TypeError("past the border")
    if data == b"hang":
        end = time.process_time() + 30
        while time.process_time() < end:
            pass
    if data == b"memory":
        return str(np.ones(2**28, np.uint8).any())
    return "read"


def test_exceptions_hangs_memory_and_deaths_are_counted(monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 3)
    monkeypatch.setattr(fuzz, "MEMORY", 2**28)
    monkeypatch.setattr(fuzz, "damaged", lambda target, number: ("a", [b"error", b"hang", b"memory", b"good"][number]))
    found = fuzz.tried(Target("made", dict, _misbehaves), 0, 4)
    assert "TypeError: past the border" in found.past[0]
    assert list(found.slow) == [1]
    assert list(found.large) == [2]
    assert list(found.past) == [0]
    assert found.outcomes == {"True": 1, "read": 1}
