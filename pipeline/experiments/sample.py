"""How ``sample`` makes an evaluation cheap: it shows the product at work, its figures say nothing about a method."""

from dataclasses import replace

from models.scoring import ScoreConfig
from pipeline.detectors.controls.registry import Control
from pipeline.evaluation.evaluate import EvaluationConfig

SHARD = 32  # tiles: several shards even of so little data, so that both cores have work
RESAMPLES = 200  # of the bootstrap
LEFT_OUT = ("canonical", "median", "slic")
"""Controls that take seconds an image at full size; two of them are nulls too."""


def cheaper(evaluation: EvaluationConfig) -> EvaluationConfig:
    """Few resamples, one copy of each normal for pixel classifiers, half the line filters, no ``LEFT_OUT``."""
    controls = tuple(_cheaper(control) for control in evaluation.controls if control.name not in LEFT_OUT)
    scores = {canvas: _shorter(score) for canvas, score in evaluation.scores.items()}
    return replace(evaluation, scores=scores, controls=controls, resamples=RESAMPLES)


def _cheaper(control: Control) -> Control:
    options = dict(control.options)
    if control.name == "pixel_classifier":
        options["config"] = replace(options["config"], copies=1)
    return replace(control, score=_shorter(control.score), options=options)


def _shorter(score: ScoreConfig) -> ScoreConfig:
    return replace(score, lines=score.lines[::2])
