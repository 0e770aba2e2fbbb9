"""Whether a training has converged: the gain of its last quarter of steps on normal validation images."""

from collections.abc import Mapping, Sequence

LAST = 0.25
"""Share of the steps, at the end of a training, whose gain is measured."""

SETTLED = 0.02
"""A stage has converged if its last steps lowered the best validation loss by at most this share."""

LEAST = 4
"""Minimum number of evaluations."""


def last_gain(history: Sequence[Mapping[str, float]]) -> float | None:
    """Share by which the last quarter of the steps lowered the best validation loss, at least 0.

    `history` holds the trainer's evaluations (step, validation) in order. None if there are too few of them, or if
    the best loss before is not above 0.
    """
    if len(history) < LEAST:
        return None
    until = (1 - LAST) * history[-1]["step"]
    before = min((entry["validation"] for entry in history if entry["step"] <= until), default=0.0)
    after = min(entry["validation"] for entry in history if entry["step"] > until)
    return max(0.0, (before - after) / before) if before > 0 else None


def converged(gains: Sequence[float | None]) -> bool | None:
    """Whether all stages have converged; None if some are unknown and none is still falling."""
    if any(gain is not None and gain > SETTLED for gain in gains):
        return False
    return None if None in gains or not gains else True
