"""What the slices of a data set say of its volumes: how many, how many empty slices, and which differ from the rest."""

from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import EmptyFrame

FACTOR = 2.0  # a volume is named if its pixels or its slices' distance differ by more from the median of all volumes


def count_volumes(slices: pd.DataFrame, quarantine: pd.DataFrame) -> dict[str, Any]:
    """Volumes by class, slices in them, empty ones (in the quarantine), and ``odd_volumes``, for ``counts.json``."""
    inside = slices[slices["volume"] != ""]
    classes = inside.groupby("volume")["klass"].agg(lambda found: max(found, key=lambda klass: klass != "normal"))
    return {
        "volumes": {str(klass): int(n) for klass, n in classes.value_counts().sort_index().items()},
        "slices": len(inside),
        "empty slices": int(quarantine["reason"].str.startswith(f"{EmptyFrame.kind}: ").sum()),
        "odd": odd_volumes(slices),
    }


def odd_volumes(slices: pd.DataFrame) -> dict[str, str]:
    """Volume → how it differs from most: another plane, or pixels or distances beyond ``FACTOR`` times the median.

    ``slices`` has the columns volume, plane, pixel and spacing (mm). What a file does not say is not compared.
    """
    each = slices[slices["volume"] != ""].groupby("volume")[["plane", "pixel", "spacing"]].first()
    planes = each["plane"][each["plane"] != ""]
    usual, medians = planes.mode().min() if len(planes) else "", each[["pixel", "spacing"]].median()
    found = dict[str, str]()
    for volume, row in each.iterrows():
        said = [f"{row['plane']}, and most are {usual}"] if row["plane"] not in ("", usual) else []
        for name, what in (("pixel", "pixels of {:.3g} mm"), ("spacing", "slices {:.3g} mm apart")):
            if np.isfinite(row[name]) and not 1 / FACTOR <= row[name] / medians[name] <= FACTOR:
                said.append(f"{what.format(row[name])}, the median is {medians[name]:.3g}")
        if said:
            found[str(volume)] = "; ".join(said)
    return found
