"""Scores of the learned methods: the lane's own one, its variants, and the other methods of the committee."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from models.methods import METHODS
from models.scoring import ScoreConfig, worst_mean, z_score
from pipeline.detectors.inference import Prediction, predict_canvas
from pipeline.detectors.scorers import CanvasScore, residual_parts, score_canvas
from pipeline.evaluation.pasted_lesions import Mask
from pipeline.evaluation.score_name import MEMBER, PRIMARY, ScoreName
from pipeline.evaluation.scoreboard import SCORED_SPLITS, Scoreboard, absolute
from pipeline.store.versions import Version


@dataclass(frozen=True)
class CanvasResult:
    """Results of the lane's method on one canvas."""

    canvas: str
    predicted: Prediction
    standardised: CanvasScore
    lesions: Callable[[str], Mask | None]  # image id → lesion mask at the canvas's full size, None without one

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Image id → row of the prediction."""
        return {image_id: row for row, image_id in enumerate(self.predicted.images.images["image_id"])}


def method_scores(
    scoreboard: Scoreboard, method: ScoreName, scores: Mapping[str, ScoreConfig], flip_average: bool
) -> list[CanvasResult]:
    """Add the scores of the lane's method, canvas by canvas; of each of its variants the standardised one.

    ``latent`` and ``image`` are the paper's (Eq. 13, Table V), ``worst`` is the mean over the largest |I − Î|,
    ``residual`` has the maps |I − Î|, and ``standardised`` compares them with those of validation normals.
    """
    return [_method_canvas(scoreboard, method, canvas, score, flip_average) for canvas, score in scores.items()]


def _method_canvas(
    scoreboard: Scoreboard, method: ScoreName, canvas: str, score: ScoreConfig, flip_average: bool
) -> CanvasResult:
    trained = scoreboard.inputs.checkpoint
    predicted = _predict(scoreboard, trained, canvas, score, flip_average)
    images, residual = predicted.images, predicted.residual
    validation = images.rows("val")
    worst = worst_mean(np.abs(residual), images.scored, score)
    for kind, values in (("latent", predicted.latent), ("image", predicted.image), ("worst", worst)):
        scoreboard.add(replace(method, score=kind), images.images, z_score(values, values[validation]))
    typical = float(np.median(np.abs(residual[validation][images.scored[validation]]))) or 1e-3
    scoreboard.add_maps(replace(method, score="residual"), canvas, images.images, absolute(residual), typical)
    standardised = _standardised(predicted, score)
    scoreboard.add_standardised(method, canvas, standardised)
    for variant, changes in METHODS[method.owner].variants.items():
        varied = _predict(scoreboard, trained, canvas, score, flip_average, changes=changes)
        name = replace(method, score=f"{PRIMARY}_{variant}")
        scoreboard.add_standardised(name, canvas, _standardised(varied, score))
    return CanvasResult(canvas, predicted, standardised, partial(scoreboard.lesion_mask, canvas))


def member_scores(
    scoreboard: Scoreboard,
    scores: Mapping[str, ScoreConfig],
    overrides: Mapping[str, ScoreConfig],
    flip_average: bool,
) -> dict[str, dict[str, CanvasScore]]:
    """Add the standardised scores of the other learned methods, and return them by method and canvas.

    ``overrides``: method → score configuration, where it is not that of the canvas.
    """
    found: dict[str, dict[str, CanvasScore]] = {}
    for member, version in scoreboard.inputs.member_methods.items():
        for canvas, usual in scores.items():
            score = overrides.get(member, usual)
            predicted = _predict(scoreboard, version, canvas, score, flip_average, member=member)
            found.setdefault(member, {})[canvas] = standardised = _standardised(predicted, score)
            scoreboard.add_standardised(ScoreName(kind=MEMBER, owner=member), canvas, standardised)
    return found


def _standardised(predicted: Prediction, score: ScoreConfig) -> CanvasScore:
    return score_canvas(predicted.images, residual_parts(predicted.steady, predicted.images, score), score)


def _predict(
    scoreboard: Scoreboard,
    trained: Version,
    canvas: str,
    score: ScoreConfig,
    flip_average: bool,
    *,
    member: str = "",
    changes: Mapping[str, Any] | None = None,
) -> Prediction:
    """Run a method on all scored images and copies of a canvas."""
    return predict_canvas(
        trained,
        scoreboard.inputs.tiles,
        scoreboard.inputs.proxies,
        canvas=canvas,
        splits=SCORED_SPLITS,
        score=score,
        flip_average=flip_average,
        changes=changes,
        member=member,
        more=scoreboard.pasted_tiles(canvas),
    )
