"""Options of a user on top of a preset: the paper's leaking split, and colour for fundus images."""

from dataclasses import replace
from typing import Literal

from pipeline.data.splits import ImagesConfig
from pipeline.experiments.lane import Lane
from pipeline.training import TrainingPlan

IN_COLOUR = {"flat_field": "flat_field_rgb", "field_of_view": "field_of_view_rgb"}
"""Form → the same form with three channels."""


def with_split(lane: Lane, protocol: Literal["leak_free", "paper_random"], seed: int) -> Lane:
    """The lane with another split; ``paper_random`` leaks near-duplicates, and its report says so."""
    images: ImagesConfig = replace(lane.images, protocol=protocol, split_seed=seed)
    return replace(lane, images=images)


def in_colour(lane: Lane) -> Lane:
    """The lane with RGB tiles if its form has a colour version; other lanes are returned unchanged."""
    if lane.tiles.form not in IN_COLOUR:
        return lane
    baselines = {name: replace(row, training=_three_channels(row.training)) for name, row in lane.baselines.items()}
    return replace(
        lane,
        tiles=replace(lane.tiles, form=IN_COLOUR[lane.tiles.form]),
        training=_three_channels(lane.training),
        members={name: _three_channels(plan) for name, plan in lane.members.items()},
        baselines=baselines,
    )


def _three_channels(plan: TrainingPlan) -> TrainingPlan:
    canvases = {
        name: replace(canvas, model=replace(canvas.model, channels=3)) for name, canvas in plan.canvases.items()
    }
    changed: TrainingPlan = replace(plan, canvases=canvases)
    return changed
