"""Has a training converged? What the last quarter of its steps still gained on normal validation images."""

from collections.abc import Mapping, Sequence

LAST = 0.25
"""Share of the steps at the end of a training that is looked at."""

SETTLED = 0.02
"""A stage has converged where the last part of its steps lowered the best validation loss by at most this share."""

LEAST = 4
"""Evaluations without which nothing can be said."""


def last_gain(history: Sequence[Mapping[str, float]]) -> float | None:
    """Share by which the last quarter of the steps lowered the best validation loss, at least 0.

    `history` holds the trainer's evaluations (step, validation) in order. None where there are too few of them, or
    where the best loss before is not above 0.
    """
    if len(history) < LEAST:
        return None
    until = (1 - LAST) * history[-1]["step"]
    before = min((entry["validation"] for entry in history if entry["step"] <= until), default=0.0)
    after = min(entry["validation"] for entry in history if entry["step"] > until)
    return max(0.0, (before - after) / before) if before > 0 else None


def converged(gains: Sequence[float | None]) -> bool | None:
    """Whether all stages have; None where one of them is unknown and none is known to be still falling."""
    if any(gain is not None and gain > SETTLED for gain in gains):
        return False
    return None if None in gains or not gains else True
