"""How each data set is judged: scores, controls, committee, pasted lesions.

Committees: members and weights were chosen by lesions pasted on validation normals (docs/results/quality).
"""

from dataclasses import replace

from models.scoring import ScoreConfig
from pipeline.detectors.controls.pixel_classifier import ClassifierConfig
from pipeline.detectors.controls.pixel_features import FeatureConfig
from pipeline.detectors.controls.registry import Control
from pipeline.detectors.synthetic import LesionConfig
from pipeline.evaluation.evaluate import EvaluationConfig
from pipeline.evaluation.nulls import NULLS
from pipeline.evaluation.pasted_lesions import KINDS, PastedConfig

OCT_SCORE = ScoreConfig(sigma=1.0, worst=0.01, minus_mean=True)
PLAIN_SCORE = ScoreConfig(sigma=2.0, worst=0.05)  # settled with test results in view (docs/decisions/0005)
MRI_PLAIN = replace(PLAIN_SCORE, similar=12)  # planes and contrasts in one slot; chosen by pasted lesions
MRI_SCORE = replace(MRI_PLAIN, beside=12, own_mirror=True)  # chosen the same way
FUNDUS_PLAIN = ScoreConfig(signed=True, sigma=1.0, worst=0.005, mirrored=False, smooth=16.0, rare=0.15, severity=0.2)
FUNDUS_SCORE = replace(FUNDUS_PLAIN, fine=True, lines=(9, 17, 33, 66), smooth=32.0, map_sigma=2.0)
FUNDUS = (256, 256)
SLOW_ON_FUNDUS = ("canonical", "median", "slic")
"""Controls that the sample does without: they take seconds an image at full size, and two of them are nulls too."""
SAMPLE_RESAMPLES = 200  # of the bootstrap; its intervals say nothing about a method

OCT_CONTROLS = (
    Control(name="pca", canvas="wide", size=(40, 64), score=OCT_SCORE, options={"components": 800, "mirrored": True}),
    Control(
        name="pca",
        canvas="tight",
        size=(32, 128),
        score=OCT_SCORE,
        options={"components": 200, "mirrored": True, "shifts": (-2, -1, 1, 2)},
    ),
    Control(name="nearest", canvas="wide", size=(40, 64), score=OCT_SCORE),
    Control(name="nearest", canvas="tight", size=(32, 128), score=OCT_SCORE),
    Control(name="brightness", canvas="wide", size=(64, 64)),
)
MRI_CLASSIFIER = ClassifierConfig(
    features=FeatureConfig(intensity=False, mirror=True, neighbours=12, place=False),
    lesions=LesionConfig(radius=(0.02, 0.4), strength=(0.08, 0.9), count=(1, 3)),
    copies=4,
)
MRI_CONTROLS = (
    Control(name="pca", canvas="head", size=(64, 64), score=MRI_SCORE, options={"components": 24, "mirrored": True}),
    Control(name="patch_neighbour", canvas="head", size=(64, 64), score=MRI_PLAIN, options={"own_mirror": 3}),
    Control(name="nearest", canvas="head", size=(64, 64), score=MRI_PLAIN),
    Control(
        name="pixel_classifier",
        canvas="head",
        size=(64, 64),
        score=ScoreConfig(sigma=1.0, worst=0.3),
        options={"config": MRI_CLASSIFIER},
    ),
    Control(name="brightness", canvas="head", size=(64, 64)),
    Control(name="centre", canvas="head", size=(64, 64)),
)
FUNDUS_CLASSIFIER = ClassifierConfig(
    features=FeatureConfig(
        scales=(0.7, 1.5, 3.0, 6.0, 12.0, 24.0),
        curvatures=(1.0, 2.0, 4.0, 8.0),
        intensity=False,
        line_blob=True,
        place=False,
    ),
    lesions=LesionConfig(radius=(0.002, 0.08), strength=(0.04, 0.4), count=(8, 30)),
    copies=5,
    pixels=4500,
    flatten=True,
)
FUNDUS_CONTROLS = (
    Control(name="line_blob", canvas="field", size=FUNDUS, score=FUNDUS_SCORE, options={"neutral": 128}),
    Control(name="canonical", canvas="field", size=FUNDUS, score=FUNDUS_PLAIN, options={"neutral": 128}),
    Control(name="median", canvas="field", size=FUNDUS, score=FUNDUS_PLAIN, options={"window": 61, "raw": True}),
    Control(name="slic", canvas="field", size=FUNDUS, score=FUNDUS_PLAIN, options={"raw": True}),
    Control(name="brightness", canvas="field", size=FUNDUS),
    Control(name="darkness", canvas="field", size=FUNDUS),
    Control(name="centre", canvas="field", size=FUNDUS),
)


def _beside_nulls(evaluation: EvaluationConfig) -> EvaluationConfig:
    """The same evaluation with the rows in which an image that no network made replaces Î."""
    return replace(evaluation, nulls=NULLS)


def _pasted(radius: tuple[float, float], strength: float) -> LesionConfig:
    """One lesion of every kind there is, of medium contrast from ``strength`` to its double."""
    return LesionConfig(radius=radius, strength=(strength, 2 * strength), kinds=KINDS)


OCT_EVALUATION = _beside_nulls(
    EvaluationConfig(
        scores={"wide": OCT_SCORE, "tight": OCT_SCORE},
        controls=OCT_CONTROLS,
        member_scores={"segmentation": OCT_SCORE},
        committee={"segmentation": 1.0, "pca": 1.0},
        flip_average=True,
        pasted=PastedConfig(lesions=_pasted((0.04, 0.12), 0.15)),
    )
)
MRI_EVALUATION = _beside_nulls(
    EvaluationConfig(
        scores={"head": MRI_SCORE},
        controls=MRI_CONTROLS,
        member_scores={"denoising": MRI_PLAIN},
        committee={"denoising": 1.0, "patch_neighbour": 1.0, "pixel_classifier": 0.5},
        flip_average=True,
        pasted=PastedConfig(lesions=_pasted((0.06, 0.15), 0.25)),
    )
)


def fundus_evaluation(classifier: tuple[int, int] = FUNDUS) -> EvaluationConfig:
    """All scores are in px of the full size; the pixel classifier alone has a size of its own."""
    options = {"config": FUNDUS_CLASSIFIER, "raw": True}
    learned = Control(
        name="pixel_classifier",
        canvas="field",
        size=classifier,
        score=replace(FUNDUS_PLAIN, signed=False, floor=0.3, smooth=32.0, severity=0.3),
        options=options,
    )
    evaluation = EvaluationConfig(
        scores={"field": FUNDUS_SCORE},
        controls=(learned, *FUNDUS_CONTROLS),
        member_scores={
            "denoising": replace(FUNDUS_PLAIN, smooth=8.0)
        },  # a row for comparison, at its own 128 px a tile
        committee={"pixel_classifier": 1.0},  # line-blob maps beside it find fewer pasted lesions
        pasted=PastedConfig(lesions=_pasted((0.01, 0.04), 0.08), flatten=True),
    )
    return _beside_nulls(evaluation)


def at_training_size(evaluation: EvaluationConfig, factor: float) -> EvaluationConfig:
    """The same where ProxyAno trains at so many times the size that its scores were written for (64 px a side).

    Controls and members have sizes and scores of their own.
    """
    scores = {canvas: score.scaled(factor) for canvas, score in evaluation.scores.items()}
    return replace(evaluation, scores=scores)


def on_sample(evaluation: EvaluationConfig) -> EvaluationConfig:
    """The same for the drawn sample, in seconds: few resamples, cheap classifiers, and of what is fine the half."""
    controls = tuple(_cheaper(control) for control in evaluation.controls if control.name not in SLOW_ON_FUNDUS)
    scores = {canvas: _shorter(score) for canvas, score in evaluation.scores.items()}
    nulls = evaluation.nulls if not any(score.fine for score in scores.values()) else ("median", "slic")
    return replace(evaluation, scores=scores, controls=controls, nulls=nulls, resamples=SAMPLE_RESAMPLES)


def _cheaper(control: Control) -> Control:
    options = dict(control.options)
    if control.name == "pixel_classifier":
        options["config"] = replace(options["config"], copies=1)
    return replace(control, score=_shorter(control.score), options=options)


def _shorter(score: ScoreConfig) -> ScoreConfig:
    return replace(score, lines=score.lines[::2])


PLAIN_CONTROLS = (
    Control(
        name="pca", canvas="image", size=(64, 64), score=PLAIN_SCORE, options={"components": 128, "mirrored": True}
    ),
    Control(name="nearest", canvas="image", size=(64, 64), score=PLAIN_SCORE),
    Control(name="brightness", canvas="image", size=(64, 64)),
)
PLAIN_EVALUATION = _beside_nulls(EvaluationConfig(scores={"image": PLAIN_SCORE}, controls=PLAIN_CONTROLS))
