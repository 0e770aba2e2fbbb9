"""The committee: its members' scores added to one."""

from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np

from models.scoring import z_score
from pipeline.detectors.scorers import CanvasScore, fused_map
from pipeline.evaluation.score_name import COMMITTEE, CONTROL, MEMBER, ScoreName
from pipeline.evaluation.scoreboard import LaneInputs, Scoreboard

OWN = "method"
"""Name of the lane's own method in ``EvaluationConfig.committee``."""
COMMITTEE_SCORE = ScoreName(kind=COMMITTEE, owner=COMMITTEE)

Members = Mapping[str, Mapping[str, CanvasScore]]
"""Member of a committee → canvas → its scores."""


def member_names(inputs: LaneInputs, members: Iterable[str], method: ScoreName) -> dict[str, ScoreName]:
    """Member of a committee (``OWN``, another learned method or a control) → its score's name."""
    kinds = {member: MEMBER if member in inputs.member_methods else CONTROL for member in members}
    return {name: method if name == OWN else ScoreName(kind=kind, owner=name) for name, kind in kinds.items()}


def committee_scores(scoreboard: Scoreboard, weights: Mapping[str, float], members: Members, method: ScoreName) -> None:
    """Add the committee's score: those of its members, z-scored on validation normals, weighted and summed."""
    table = scoreboard.table
    validation = (table["split"] == "val").to_numpy()
    for member, name in member_names(scoreboard.inputs, weights, method).items():
        values = table[name.column].to_numpy(np.float32)
        scoreboard.add(COMMITTEE_SCORE, table, weights[member] * z_score(values, values[validation]))
    for canvas in dict.fromkeys(canvas for member in weights for canvas in members[member]):
        parts = [(weights[member], members[member][canvas]) for member in weights if canvas in members[member]]
        scoreboard.add_maps(COMMITTEE_SCORE, canvas, parts[0][1].images.images, partial(fused_map, parts), 1.0)
