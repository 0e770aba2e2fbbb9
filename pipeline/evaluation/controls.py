"""Columns of the controls: the same code scores them that scores a learned method."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from models.scoring import Array
from pipeline.detectors.controls.registry import CONTROLS, RAW, Control
from pipeline.detectors.scorers import CanvasImages, CanvasScore, PartsOf, canvas_images, score_canvas
from pipeline.evaluation.score_name import CONTROL, PRIMARY, ScoreName
from pipeline.evaluation.scoreboard import ASKED, Scoreboard

RAW_SCALE = 0.05
"""Typical size of a raw residual or value in [0, 1]: where the bins of its pixel curve are finest."""


def control_scores(board: Scoreboard, controls: Sequence[Control]) -> dict[str, dict[str, CanvasScore]]:
    """Columns of the controls, and those that are standardised by name and canvas."""
    members: dict[str, dict[str, CanvasScore]] = {}
    for control in controls:
        images, parts_of = _run_control(board, control)
        table = images.images
        if control.name in RAW:
            means = [float(parts_of(row).mean(where=images.scored[row])) for row in range(len(table))]
            board.add(_column(control, "mean"), table, np.array(means, np.float32))
        else:
            score = score_canvas(images, parts_of, control.score)
            members.setdefault(control.name, {})[control.canvas] = score
            board.standardised(_column(control, PRIMARY), control.canvas, score)
        if control.name in RAW or control.options.get("raw"):
            name = "value" if control.name in RAW else "residual"
            board.pixels(_column(control, name), control.canvas, table, partial(_largest, parts_of), RAW_SCALE)
    return members


def _column(control: Control, score: str) -> str:
    return ScoreName(kind=CONTROL, owner=control.name, score=score).column


def _largest(parts_of: PartsOf, row: int) -> Array:
    """The larger part of each pixel, as it is."""
    values: Array = parts_of(row).max(axis=0)
    return values


def _run_control(board: Scoreboard, control: Control) -> tuple[CanvasImages, PartsOf]:
    inputs = board.inputs
    proxies = inputs.proxies if control.name == "slic" else None  # copies with pasted lesions have none
    more = board.tiles_pasted(control.canvas) if proxies is None else None
    train = canvas_images(inputs.tiles, proxies, canvas=control.canvas, splits=["train"], size=control.size)
    images = canvas_images(inputs.tiles, proxies, canvas=control.canvas, splits=ASKED, size=control.size, more=more)
    return images, CONTROLS[control.name](train, images, control)
