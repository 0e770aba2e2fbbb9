"""Scores of volumes: one rule for the frozen detector's calibration, the evaluation and scored folders.

A volume is a file or series of two or more scored slices. Its score is the mean of its ``WORST`` highest slice scores:
a lesion spans several slices, and one noisy slice should not decide. Its rate is that of ``Calibration``, over the
scores of normal validation volumes.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

WORST = 3  # slices; fixed before any test


def volume_table(slices: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """A row for each volume, sorted and named by it: ``slices`` (their number) and its scores.

    ``slices`` has a row for each scored slice: ``volume`` (empty: an image alone) and ``columns`` of scores.
    """
    known = slices[slices["volume"] != ""]
    groups = known[known["volume"].duplicated(keep=False)].groupby("volume")
    return pd.DataFrame({"slices": groups.size(), **{name: groups[name].agg(_score) for name in columns}})


def worst_slices(slices: pd.DataFrame, column: str) -> pd.Series:
    """Names (column ``name``) of the slices that a volume's score is made of, the worst first, by volume."""
    ordered = slices.sort_values(column, ascending=False, kind="stable")
    return ordered.groupby("volume")["name"].agg(lambda names: ", ".join(names.head(WORST)))


def _score(scores: pd.Series) -> float:
    return float(np.sort(scores.to_numpy(float))[-WORST:].mean())
