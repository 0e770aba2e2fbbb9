"""Where a DICOM frame comes from: patient, series, plane and spacing. A patient's id is kept as a hash alone."""

import hashlib
import math
from typing import Any

import numpy as np

from pipeline.data.read.gray import PLANES, Origin

NOBODY = {"", "0", "anon", "anonymous", "anonymized", "anonymised", "none", "unknown", "patient", "removed"}
"""Patient ids, in small letters, that tools write for many patients alike."""


def origin(head: Any) -> Origin:
    """Origin of a frame, whose functional groups lie over its header."""
    patient, study, series = (
        str(head.get(name) or "").strip() for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")
    )
    subject = (patient if patient.lower() not in NOBODY else "") or study or series
    sizes = [*_numbers(head, "PixelSpacing", 2), *_numbers(head, "ImagerPixelSpacing", 2)]
    spacing = [*_numbers(head, "SpacingBetweenSlices", 1), *_numbers(head, "SliceThickness", 1)]
    return Origin(
        hashlib.sha256(subject.encode(errors="surrogateescape")).hexdigest()[:12] if subject else "",
        series,
        _plane(_numbers(head, "ImageOrientationPatient", 6)),
        min(sizes[:2], default=math.nan),
        next(iter(spacing), math.nan),
    )


def first_number(value: Any) -> float:
    """The first of several numbers; NaN for an empty element."""
    several = value is not None and not isinstance(value, (str, float, int)) and hasattr(value, "__len__")
    value = (value[0] if len(value) else None) if several else value
    return math.nan if value is None or value == "" else float(value)


def _plane(lies: list[float]) -> str:
    """Plane of slices whose rows and columns lie along these directions (six numbers); empty without any."""
    upright = np.abs(np.cross(lies[:3], lies[3:])) if lies else np.zeros(3)
    return PLANES[int(upright.argmax())] if upright.any() else ""


def _numbers(head: Any, name: str, count: int) -> list[float]:
    """The positive numbers (of a direction, any) of an element; none unless there are ``count`` finite ones."""
    try:
        value = head.get(name)
        several = value if hasattr(value, "__len__") and not isinstance(value, str) else [value]
        found = [float(one) for one in several or () if one is not None and one != ""]
    except ValueError:  # a damaged element, which the picture does not need
        return []
    sound = len(found) == count and all(map(math.isfinite, found)) and (count == 6 or min(found) > 0)
    return found if sound else []
