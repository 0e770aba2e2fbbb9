"""Members of a committee: their scores added to one, and the normals they agree to call abnormal."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from models.scoring import z_score
from pipeline.detectors.scorers import CanvasScore, fused_map
from pipeline.evaluation.audit import audit_sheet, audit_table
from pipeline.evaluation.pictures.panels import Case, gray_picture
from pipeline.evaluation.records import label_free_thresholds
from pipeline.evaluation.score_name import COMMITTEE, CONTROL, MEMBER, METHOD, ScoreName
from pipeline.evaluation.scoreboard import Scoreboard

OWN = "method"
"""The committee's name for the lane's own method."""
COLUMN = ScoreName(kind=COMMITTEE, owner=COMMITTEE).column

Members = Mapping[str, Mapping[str, CanvasScore]]
"""Member of a committee → canvas → its scores."""


def committee_scores(board: Scoreboard, weights: Mapping[str, float], members: Members, method: str) -> None:
    """Column ``committee:standardised``: the members' scores, z-scored on validation normals, weighted and added."""
    if not weights:
        return
    validation = (board.table["split"] == "val").to_numpy()
    for name, weight in weights.items():
        values = board.table[score_column(board, name, method)].to_numpy(np.float32)
        board.add(COLUMN, board.table, weight * z_score(values, values[validation]))
    for canvas in dict.fromkeys(canvas for name in weights for canvas in members[name]):
        parts = [(weight, members[name][canvas]) for name, weight in weights.items() if canvas in members[name]]
        board.pixels(COLUMN, canvas, parts[0][1].images.images, partial(fused_map, parts), 1.0)


def score_column(board: Scoreboard, name: str, method: str) -> str:
    """Score column of a member of the committee."""
    others = board.inputs.members.meta["members"] if board.inputs.members else {}
    if name == OWN:
        return ScoreName(kind=METHOD, owner=method).column
    return ScoreName(kind=MEMBER if name in others else CONTROL, owner=name).column


def write_audit(folder: Path, board: Scoreboard, columns: Sequence[str], quantile: float, case: Case) -> None:
    """``audit.csv`` and ``audit.png``: normals that the scores of ``columns`` agree to call abnormal."""
    manifest = pd.read_parquet(board.inputs.images.path / "images.parquet").drop_duplicates("image_id")
    paths = dict(zip(manifest["image_id"], manifest["path"], strict=True))
    table = audit_table(board.table, columns, label_free_thresholds(board.table, quantile), paths)
    images = case.found.images
    pictures = {name: gray_picture(images.gray[row]) for row, name in enumerate(images.images["image_id"])}
    table.to_csv(folder / "audit.csv", index=False, float_format="%.3f")
    (folder / "audit.png").write_bytes(audit_sheet(table, pictures))
