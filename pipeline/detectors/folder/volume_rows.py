"""Rows of volumes beside those of their slices, in a scored folder and in an answer of the served model."""

import numpy as np
import pandas as pd

from pipeline.detectors.frozen.detector import Detector
from pipeline.detectors.volumes import volume_table, worst_slices

UNCALIBRATED = "no rate"  # decision on a volume by a detector that was made from images alone


def volume_rows(slices: pd.DataFrame, detector: Detector, rate: float) -> pd.DataFrame:
    """A row for each volume of two or more scored slices, with the decision at ``rate``.

    ``slices`` has a row a slice: ``name``, ``path``, ``volume`` (empty: an image alone), ``score`` (none where it is
    not scored) and ``in_domain``.
    """
    slices = slices[slices["score"].notna()]
    slices = slices.assign(inside=slices["in_domain"].astype(str) == "True")
    found = volume_table(slices, ["score"])
    if found.empty:
        return found.assign(decision="")
    groups, calibration = slices.groupby("volume"), detector.volumes
    found = found.assign(worst_slices=worst_slices(slices, "score"), path=groups["path"].first())
    found = found.assign(in_domain=groups["inside"].mean() >= 0.5, method=detector.name)
    found = found.assign(dataset=detector.dataset, detector=detector.data_version)
    if calibration is None:
        reason = "the detector was calibrated on images, not on volumes"
        found = found.assign(decision=UNCALIBRATED, reason=reason)
    else:
        found = found.assign(rate=max(rate, calibration.least))
        found["false_alarm_rate"] = found["score"].map(calibration.rate).round(6)
        found["false_alarm_rate_high"] = found["score"].map(calibration.highest_rate).round(6)
        found["decision"] = np.where(found["false_alarm_rate"] <= found["rate"], "abnormal", "normal")
    found.loc[~found["in_domain"], ["decision", "reason"]] = ["out of domain", "most of its slices are out of domain"]
    return found.assign(score=found["score"].round(7)).reset_index()
