"""Failures people can act on at once: one sentence instead of a stack of frames that say nothing about the cause."""

import sys

import dagster as dg


def one_sentence(text: str) -> dg.Failure:
    """A failure to raise whose log holds ``text`` alone; the process that raises it ends with its run."""
    sys.tracebacklimit = 0
    return dg.Failure(description=text, allow_retries=False)
