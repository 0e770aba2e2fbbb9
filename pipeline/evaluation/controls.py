"""Scores of the controls, by the code that scores learned methods, and the shortcuts beside them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from models.scoring import Array
from pipeline.detectors.controls.registry import CONTROLS, RAW, Control
from pipeline.detectors.controls.shortcuts import SHORTCUTS, shortcut_table
from pipeline.detectors.scorers import CanvasImages, CanvasScore, PartsOf, canvas_images, score_canvas
from pipeline.evaluation.pasted_lesions import SPLIT
from pipeline.evaluation.score_name import CONTROL, SHORTCUT, ScoreName
from pipeline.evaluation.scoreboard import SCORED_SPLITS, Scoreboard
from pipeline.tiles.loading import load_tiles

RAW_SCALE = 0.05
"""Typical size of a raw residual or value in [0, 1]: where the bins of its pixel curve are finest."""
TRAIN = ("train",)


def control_scores(scoreboard: Scoreboard, controls: Sequence[Control]) -> dict[str, dict[str, CanvasScore]]:
    """Add the scores of the controls, and return the standardised ones by control and canvas."""
    found: dict[str, dict[str, CanvasScore]] = {}
    for control in controls:
        train = control_images(scoreboard, control, TRAIN)
        images = control_images(scoreboard, control, SCORED_SPLITS)
        parts_of, table = CONTROLS[control.name](train, images, control), images.images
        name, raw = ScoreName(kind=CONTROL, owner=control.name), control.name in RAW
        if raw:
            means = [float(parts_of(row).mean(where=scored)) for row, scored in enumerate(images.scored)]
            scoreboard.add(replace(name, score="mean"), table, np.array(means, np.float32))
        else:
            score = score_canvas(images, parts_of, control.score)
            found.setdefault(control.name, {})[control.canvas] = score
            scoreboard.add_standardised(name, control.canvas, score)
        if raw or control.options.get("raw"):
            shown = replace(name, score="value" if raw else "residual")
            scoreboard.add_maps(shown, control.canvas, table, partial(_largest, parts_of), RAW_SCALE)
    return found


def _largest(parts_of: PartsOf, row: int) -> Array:
    """The largest part of each pixel (H, W)."""
    values: Array = parts_of(row).max(axis=0)
    return values


def control_images(scoreboard: Scoreboard, control: Control, splits: Sequence[str]) -> CanvasImages:
    """Images at the control's size. Training images have no copies with pasted lesions, and copies have no proxies."""
    inputs = scoreboard.inputs
    proxies = inputs.proxies if control.name == "slic" else None
    more = None if proxies or splits == TRAIN else scoreboard.pasted_tiles(control.canvas)
    return canvas_images(inputs.tiles, proxies, canvas=control.canvas, splits=splits, size=control.size, more=more)


def with_shortcuts(scoreboard: Scoreboard) -> pd.DataFrame:
    """The table of scores with the shortcuts' columns, without the copies, whose files are those of their originals."""
    inputs = scoreboard.inputs
    held = load_tiles(inputs.tiles, None, splits=SCORED_SPLITS)
    manifest = pd.read_parquet(inputs.images.path / "images.parquet")
    columns = {name: ScoreName(kind=SHORTCUT, owner=name, score="value").column for name in SHORTCUTS}
    shortcuts = shortcut_table(manifest, held.index, held.pixels, held.validity).rename(columns=columns)
    images = scoreboard.table[scoreboard.table["split"] != SPLIT].reset_index(drop=True)
    return images.merge(shortcuts, on="image_id", how="left", validate="one_to_one")
