"""Variants of a lane: the paper's leaking split, colour for fundus images, and a cheap evaluation for ``sample``."""

from dataclasses import replace
from typing import Literal

from models.scoring import ScoreConfig
from pipeline.data.splits import ImagesConfig
from pipeline.evaluation.evaluate import EvaluationConfig
from pipeline.experiments.lane import Lane
from pipeline.training import TrainingPlan

IN_COLOUR = {"flat_field": "flat_field_rgb", "field_of_view": "field_of_view_rgb"}
"""Form → the same form with three channels."""
SAMPLE_SHARD = 32  # tiles: several shards even of so little data, so that both cores have work
SAMPLE_RESAMPLES = 200  # of the bootstrap
LEFT_OUT = ("canonical", "median", "slic")
"""Controls that take seconds an image at full size; two of them are nulls too."""


def with_split(lane: Lane, protocol: Literal["leak_free", "paper_random"], seed: int) -> Lane:
    """The lane with another split; ``paper_random`` leaks near-duplicates, and its report says so."""
    images: ImagesConfig = replace(lane.images, protocol=protocol, split_seed=seed)
    return replace(lane, images=images)


def in_colour(lane: Lane) -> Lane:
    """The lane with RGB tiles if its form has a colour version; other lanes are returned unchanged."""
    if lane.tiles.form not in IN_COLOUR:
        return lane

    def three_channels(plan: TrainingPlan) -> TrainingPlan:
        models = {name: replace(canvas.model, channels=3) for name, canvas in plan.canvases.items()}
        canvases = {name: replace(canvas, model=models[name]) for name, canvas in plan.canvases.items()}
        return TrainingPlan(method=plan.method, canvases=canvases)

    return replace(
        lane,
        tiles=replace(lane.tiles, form=IN_COLOUR[lane.tiles.form]),
        training=three_channels(lane.training),
        members={name: three_channels(plan) for name, plan in lane.members.items()},
        baselines={name: replace(row, training=three_channels(row.training)) for name, row in lane.baselines.items()},
    )


def cheaper(evaluation: EvaluationConfig) -> EvaluationConfig:
    """For ``sample``, which shows the product at work; its figures say nothing about a method.

    Few resamples, one copy of each normal for pixel classifiers, half the line filters, no ``LEFT_OUT``.
    """

    def shorter(score: ScoreConfig) -> ScoreConfig:
        return replace(score, lines=score.lines[::2])

    controls = []
    for control in evaluation.controls:
        options = dict(control.options)
        if control.name == "pixel_classifier":
            options["config"] = replace(options["config"], copies=1)
        if control.name not in LEFT_OUT:
            controls.append(replace(control, score=shorter(control.score), options=options))
    scores = {canvas: shorter(score) for canvas, score in evaluation.scores.items()}
    return replace(evaluation, scores=scores, controls=tuple(controls), resamples=SAMPLE_RESAMPLES)
