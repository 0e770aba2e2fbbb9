"""The committee: a weighted sum of its members' scores, each in units of the sd of validation normals."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.metrics import Floats
from models.scoring import Array, z_score
from pipeline.detectors.images import enlarge
from pipeline.detectors.standardise import CanvasScorer

OWN = "method"
"""Name of the lane's own method among the weights of a committee."""
COMMITTEE = "committee"

Member = Mapping[str, CanvasScorer]
"""Canvas → scorer."""


def normal_scores(member: Member) -> dict[str, float]:
    """Image id → score of each validation normal, summed over canvases."""
    totals: dict[str, float] = {}
    for scorer in member.values():
        for image_id, score in scorer.normal_scores().items():
            totals[image_id] = totals.get(image_id, 0.0) + score
    return totals


def committee_score(weights: Mapping[str, float], scores: Mapping[str, Floats], normal: Mapping[str, Floats]) -> Floats:
    """Scores (n,) of the committee from those of its members and of their validation normals."""
    found = [
        weight * z_score(np.asarray(scores[name], np.float32), np.asarray(normal[name], np.float32)).astype(float)
        for name, weight in weights.items()
    ]
    return np.asarray(np.sum(found, axis=0))


def fused_map(maps: Sequence[tuple[float, Array]]) -> Array:
    """Weighted mean (H, W) of standardised maps of one image, at the size of the largest: still in sd of normals."""
    shape, total = max(found.shape for _, found in maps), sum(weight for weight, _ in maps)
    parts = [enlarge(weight / total * found, shape) for weight, found in maps]
    return np.asarray(np.sum(parts, axis=0, dtype=np.float32))
